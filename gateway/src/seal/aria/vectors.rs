//! Published vectors of ARIA-256 and ARIA-256-GCM, on every path of this processor.

use super::counter::Stream;
use super::engine::Chosen;
use super::schedule::{Expand, RoundKeys};
use super::sliced::{self, BLOCK, Engine, Job, ROUND_KEYS};
use super::{AriaGcm, Path};

struct Vector {
    /// Its number where it is published.
    number: u32,
    valid: bool,
    key: &'static str,
    nonce: &'static str,
    aad: &'static str,
    plain: &'static str,
    sealed: &'static str,
    tag: &'static str,
}

/// RFC 8269, appendix A (AEAD_ARIA_256_GCM); also in OpenSSL's test/recipes/30-test_evp_data/evpciph_aria.txt.
const RFC_8269: Vector = Vector {
    number: 1,
    valid: true,
    key: "0c5ffd37a11edc42c325287fc0604f2e3e8cd5671a00fe3216aa5eb105783b54",
    nonce: "000020e8f5eb00000000315e",
    aad: "8008315ebf2e6fe020e8f5eb",
    plain: "f57af5fd4ae19562976ec57a5a7ad55a5af5c5e5c5fdf5c55ad57a4a7272d57262e9729566ed66e97ac54a4a5a7ad5e1\
            5ae5fdd5fd5ac5d56ae56ad5c572d54ae54ac55a956afd6aed5a4ac562957a9516991691d572fd14e97ae962ed7a9f4a\
            955af572e162f57a956666e17ae1f54a95f566d54a66e16e4afd6a9f7ae1c5c55ae5d56afde916c5e94a6ec56695e14a\
            fde1148416e94ad57ac5146ed59d1cc5",
    sealed: "6f9e4bcbc8c85fc0128fb1e4a0a20cb9932ff74581f54fc013dd054b19f99371425b352d97d3f337b90b63d1b082adee\
             ea9d2d7391897d591b985e55fb50cb5350cf7d38dc27dda127c078a149c8eb98083d66363a46e3726af217d3a00275ad\
             5bf772c7610ea4c23006878f0ee69a8397703169a419303f40b72e4573714d19e2697df61e7c7252e5abc6bade876ac4\
             961bfac4d5e867afca351a48aed52822",
    tag: "e210d6ced2cf430ff841472915e7ef48",
};

/// Of Project Wycheproof (C2SP/wycheproof, testvectors_v1/aria_gcm_test.json, Apache-2.0), by the numbers of tests.
const WYCHEPROOF: [Vector; 12] = [
    Vector {
        number: 68,
        valid: true,
        key: "cc56b680552eb75008f5484b4cb803fa5063ebd6eab91f6ab6aef4916a766273",
        nonce: "99e23ec48985bccdeeab60f1",
        aad: "",
        plain: "2a",
        sealed: "86",
        tag: "b6c54c36d00e3a1703cdd275116c8cfb",
    },
    Vector {
        number: 70,
        valid: true,
        key: "67119627bd988eda906219e08c0d0d779a07d208ce8a4fe0709af755eeec6dcb",
        nonce: "68ab7fdbf61901dad461d23c",
        aad: "",
        plain: "51f8c1f731ea14acdb210a6d973e07",
        sealed: "927675d85ff77f6d727937cc283dc8",
        tag: "d97eb09c2b5564b06bf1bf24cbdc2f72",
    },
    Vector {
        number: 71,
        valid: true,
        key: "59d4eafb4de0cfc7d3db99a8f54b15d7b39f0acc8da69763b019c1699f87674a",
        nonce: "2fcb1b38a99e71b84740ad9b",
        aad: "",
        plain: "549b365af913f3b081131ccb6b825588",
        sealed: "f75ac6df3f278fa905f8726f5b675733",
        tag: "fe97625306fd7ab2368b8f4c0433fe42",
    },
    Vector {
        number: 72,
        valid: true,
        key: "3b2458d8176e1621c0cc24c0c0e24c1e80d72f7ee9149a4b166176629616d011",
        nonce: "45aaa3e5d16d2d42dc03445d",
        aad: "",
        plain: "3ff1514b1c503915918f0c0c31094a6e1f",
        sealed: "eaab9688a3da72be56f6be15e2074497fb",
        tag: "a0990361d7e7c7211f0e6f40dee4b0df",
    },
    Vector {
        number: 77,
        valid: true,
        key: "ff0089ee870a4a39f645b0a5da774f7a5911e9696fc9cad646452c2aa8595a12",
        nonce: "bc2a7757d0ce2d8b1f14ccd9",
        aad: "972ab4e06390caae8f99dd6e2187be6c7ff2c08a24be16ef",
        plain: "748b28031621d95ee61812b4b4f47d04c6fc2ff3",
        sealed: "db40bd548f73df7d7289d86bdd6926c75cac9070",
        tag: "e48435cf54aad7971cbf7f807d30fa1d",
    },
    Vector {
        number: 80,
        valid: true,
        key: "81b6b27e5ed90ab99fe6756d4cb41e3f07269687f5afabdb426e29096b5e4466",
        nonce: "13e727486031cca21f733375",
        aad: "",
        plain: "9a95a23cfb1e35d89a7597570df0fb0efcbb7429f53bebcbbfa49fa247b251a8508ad497066855d08688576188e4ffb1\
                2d1d084dcabec3d57806daf215dcc97edd",
        sealed: "0348fe62b0216e5e8a09d52f5672810aebd68ff33409108366107a1400dbfd87e0dc0d4355643131dcca6b4dd0917050\
                 664498d823232b57bdd322f556b696f504",
        tag: "05edabaa7eb18b347fe9af0c17cfcfa2",
    },
    Vector {
        number: 83,
        valid: true,
        key: "7f7c5804a680f61924966725dba2a80d85267c2e03c7c234b045b24ec8e23528",
        nonce: "2d9bf8b636f337d265b0904c",
        aad: "",
        plain: "e2f85fb176840c38345da0f0f8db6cdbc45a123165f244ff5389fe65bf341fa131130751b5c739a9931d5a57b141dc7b\
                5b0c5a2ca07331c2dc04b2657b0289878dea0ef7d5601465b78a65795f0f3181304e58a261feb1d394f3c33cabae1899\
                41755d7654bb7bef08c31bd2c5ce1203eebc015ae040da2a851c2ba3c62e699356",
        sealed: "a55683e345ff1265dd45f8cacb188a77a132e402bb0728720e567cb73a4749147ec087664327683559a01ca49dc3695e\
                 97d3452831d7d41e425b88cfacd2aaed5403b4951cbecfaa6e65cb60eef8aafa9fe128b67ebf2a92915bf119055ddf97\
                 05f6ba7b94e28b5391b4a6dd2c488d4cb5d46ddc1cdb4eb90c0550ed7051afafd1",
        tag: "f2af620b509b7cbaabe91b09a08eb77d",
    },
    Vector {
        number: 92,
        valid: true,
        key: "52350da5a572911ee0e0fcedb115af6f4570fbf9c74a11bc184444d6a621d60f",
        nonce: "d68ad045c1b9c2923cf5404c",
        aad: "03a94b3841292d9bbf72f413c09167c54ee10537c049afe2bbcec43b18f3890b2fcdd3bb31e6d709274e199c0c4648eb\
              3d8b38e0c1bf7f309443bef6937cde4123",
        plain: "4e6e6dad2c16cfc6e7cac03636a4a6d88bd6a13e",
        sealed: "548774dabbbc1a958d90fb1041499695fe3d2ab6",
        tag: "87b16f7ac559c9152b39ae5a047c7d22",
    },
    Vector {
        number: 102,
        valid: true,
        key: "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f",
        nonce: "000000000000000000000000",
        aad: "",
        plain: "02ec4f563fcda4dcfdd627605486e26e",
        sealed: "d8978fbf71cae74e3c141b4876a9d6c5",
        tag: "ffffffffffffffffffffffffffffffff",
    },
    Vector {
        number: 103,
        valid: true,
        key: "00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f",
        nonce: "ffffffffffffffffffffffff",
        aad: "",
        plain: "68b30e2c95dc4891d50d3cb457c7e44c",
        sealed: "b5f98a90eb57d6ddf872ebd458f06cfe",
        tag: "00000000000000000000000000000000",
    },
    Vector {
        number: 104,
        valid: false,
        key: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        nonce: "505152535455565758595a5b",
        aad: "",
        plain: "202122232425262728292a2b2c2d2e2f",
        sealed: "e0e88fd42c6f5f7b23b2329bd839765a",
        tag: "1d2896b972fa8063cde93b4963c9c131",
    },
    Vector {
        number: 126,
        valid: false,
        key: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        nonce: "505152535455565758595a5b",
        aad: "",
        plain: "202122232425262728292a2b2c2d2e2f",
        sealed: "e0e88fd42c6f5f7b23b2329bd839765a",
        tag: "e3d769468d057f9c3216c4b69c363ece",
    },
];

/// ARIA-256-CTR from a counter block of zeros: KISA's ARIA-testvector-e.pdf, as in OpenSSL's evpciph_aria.txt.
const CTR_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const CTR_PLAIN: &str = "11111111aaaaaaaa11111111bbbbbbbb11111111cccccccc11111111dddddddd22222222aaaaaaaa22222222bbbbbbbb\
    22222222cccccccc22222222dddddddd33333333aaaaaaaa33333333bbbbbbbb33333333cccccccc33333333dddddddd\
    44444444aaaaaaaa44444444bbbbbbbb44444444cccccccc44444444dddddddd55555555aaaaaaaa55555555bbbbbbbb\
    55555555cccccccc55555555dddddddd";
const CTR_SEALED: &str = "30026c329666141721178b99c0a1f1b2f06940253f7b3089e2a30ea86aa3c88f5940f05ad7ee41d71347bb7261e348f1\
    8360473fdf7d4e7723bffb4411cc13f6cdd89f3bc7b9c768145022c7a74f14d7c305cd012a10f16050c23f1ae5c23f45\
    998d13fbaa041e51619577e0772764896a5d4516d8ffceb3bf7e05f613edd9a60cdcedaff9cfcaf4e00d445a54334f73\
    ab2cad944e51d266548e61c6eb0aa1cd";

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

fn engines() -> impl Iterator<Item = (Path, Chosen)> {
    Path::ALL.into_iter().filter_map(|path| Some((path, Chosen::of(path)?)))
}

fn round_keys(chosen: Chosen, key: &[u8; 32]) -> RoundKeys {
    let mut keys = RoundKeys([[0; BLOCK]; ROUND_KEYS]);
    chosen.perform(Expand { key, into: &mut keys });
    keys
}

/// The cipher on one block.
struct Encrypt<'a>(&'a RoundKeys, [u8; BLOCK]);

impl Job for Encrypt<'_> {
    type Output = [u8; BLOCK];
    fn run<E: Engine>(self, engine: E) -> Self::Output {
        let state = self.1.map(|byte| engine.splat(u32::from_ne_bytes([byte; 4])));
        sliced::encrypt(engine, &self.0.0, state).map(|lanes| engine.first(lanes))
    }
}

/// RFC 5794, appendix A.3.
#[test]
fn a_block_is_encrypted_as_in_rfc_5794() {
    let key = std::array::from_fn(|at| at as u8);
    let plain = bytes("00112233445566778899aabbccddeeff");
    for (path, chosen) in engines() {
        let sealed = chosen.perform(Encrypt(&round_keys(chosen, &key), plain));
        assert_eq!(sealed, bytes("f92bd7c79fb72e2f2b8f80c1972d24fc"), "{path:?}");
    }
}

#[test]
fn counter_mode_is_that_of_kisa() {
    for (path, chosen) in engines() {
        let keys = round_keys(chosen, &bytes(CTR_KEY));
        let mut data = hex::decode(CTR_PLAIN).unwrap();
        chosen.perform(Stream { keys: &keys, nonce: &[0; 12], counter: 0, data: &mut data });
        assert_eq!(hex::encode(data), CTR_SEALED, "{path:?}");
    }
}

#[test]
fn gcm_is_that_of_rfc_8269_and_wycheproof() {
    for path in Path::ALL {
        for vector in std::iter::once(&RFC_8269).chain(&WYCHEPROOF) {
            let Some(gcm) = AriaGcm::with_path(path, &bytes(vector.key)) else { continue };
            check(&gcm, vector);
        }
    }
}

fn check(gcm: &AriaGcm, vector: &Vector) {
    let (nonce, aad) = (bytes(vector.nonce), hex::decode(vector.aad).unwrap());
    let tag = bytes(vector.tag);
    let mut data = hex::decode(vector.plain).unwrap();
    assert_eq!(gcm.seal(&nonce, &aad, &mut data) == tag, vector.valid, "{}", vector.number);
    assert_eq!(hex::encode(&data), vector.sealed, "{}", vector.number);
    assert_eq!(gcm.open(&nonce, &aad, &mut data, &tag), vector.valid, "{}", vector.number);
    let left = if vector.valid { vector.plain } else { vector.sealed };
    assert_eq!(hex::encode(&data), left, "{}", vector.number);
}
