//! A hardware security module by PKCS#11 (OASIS, v2.40 and later): tenant keys are AES-256 keys of a token, which are
//! sensitive and cannot be extracted.
//!
//! A version of a key is an object whose CKA_ID is `key id 16 || version u32be`. What it wraps is stored as
//! [`at_provider`] says, its content being `IV 12 || ciphertext 32 || tag 16` of CKM_AES_GCM with the context as AAD.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use policy::id::KeyId;
use policy::place::VerifiedPlace;
use policy::reason::Reason;
use tokio::sync::{Mutex, OwnedMutexGuard};
use zeroize::{Zeroize, Zeroizing};

use super::guard::Guard;
use super::{Brought, FINGERPRINT, KeyProvider, NewKey, NewVersion, ProviderError, ProviderKind, Wrapped, secret_file};
use crate::control::TenantKeyRow;
use crate::seal::key::random;
use crate::seal::wrap::{WrapContext, at_provider};
use crate::seal::{SealError, SecretKey};

const KIND: ProviderKind = ProviderKind::Pkcs11;
const IV: usize = 12;
const TAG_BITS: u64 = 128;
/// Versions without a row that are passed over: each is what a crash left of a rotation.
const LEFT_MAX: u32 = 1000;

/// Where the token is.
#[derive(Debug, Clone)]
pub struct Pkcs11Options {
    /// The module, a shared library of whoever made the token. It runs inside this process.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// File that holds the user PIN, mode 0600.
    pub pin_file: PathBuf,
    /// Where the token stands, as whoever configured it says.
    pub place: VerifiedPlace,
}

/// The provider. One call at a time: a module may do what it likes with threads.
#[derive(Debug)]
pub struct Token {
    options: Arc<Pkcs11Options>,
    guard: Guard,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    module: Option<Pkcs11>,
    /// A PIN that the token did not take. It is not shown again: tokens lock themselves.
    rejected: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("loaded", &self.module.is_some()).finish_non_exhaustive()
    }
}

/// What a module said: about the key it is final, about anything else it may be otherwise later.
fn failed(error: Error) -> ProviderError {
    match &error {
        Error::Pkcs11(
            RvError::EncryptedDataInvalid
            | RvError::EncryptedDataLenRange
            | RvError::KeyFunctionNotPermitted
            | RvError::KeyHandleInvalid
            | RvError::KeyTypeInconsistent
            | RvError::ObjectHandleInvalid
            | RvError::PinExpired
            | RvError::PinLocked,
            _,
        ) => KIND.refused(error.to_string()),
        _ => KIND.unavailable(error.to_string()),
    }
}

impl State {
    /// Runs with a session of the user. A module that fails is loaded anew by the next call.
    fn run<T>(
        &mut self,
        options: &Pkcs11Options,
        work: impl FnOnce(&Session) -> Result<T, ProviderError>,
    ) -> Result<T, ProviderError> {
        let outcome = self.session(options).and_then(|session| work(&session));
        if matches!(outcome, Err(ProviderError::Unavailable { .. }))
            && let Some(module) = self.module.take()
            && let Err(error) = module.finalize()
        {
            tracing::debug!(%error, "a PKCS#11 module was not let go");
        }
        outcome
    }

    fn session(&mut self, options: &Pkcs11Options) -> Result<Session, ProviderError> {
        let pin = secret_file(&options.pin_file).map_err(|why| KIND.unavailable(why))?;
        if self.rejected.as_ref() == Some(&pin) {
            return Err(
                KIND.refused("the token did not take the PIN; it is not tried again until its file holds another")
            );
        }
        let module = match &self.module {
            Some(module) => module,
            None => {
                let module = Pkcs11::new(&options.module).map_err(failed)?;
                match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
                    Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
                    Err(error) => return Err(failed(error)),
                }
                self.module.insert(module)
            }
        };
        let slots = module.get_slots_with_initialized_token().map_err(failed)?;
        let slot = slots
            .into_iter()
            .find(|slot| module.get_token_info(*slot).is_ok_and(|token| token.label() == options.token))
            .ok_or_else(|| KIND.unavailable(format!("there is no token {:?}", options.token)))?;
        let session = module.open_rw_session(slot).map_err(failed)?;
        match session.login(UserType::User, Some(&AuthPin::from(pin.as_str().to_owned()))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                self.rejected = Some(pin);
                Err(KIND.refused("the token does not take the PIN"))
            }
            Err(error) => Err(failed(error)),
        }
    }
}

fn id_of(key: KeyId, version: u32) -> Vec<u8> {
    [key.as_bytes().as_slice(), &version.to_be_bytes()].concat()
}

fn find(session: &Session, key: KeyId, version: u32) -> Result<Option<ObjectHandle>, ProviderError> {
    let template =
        [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Token(true), Attribute::Id(id_of(key, version))];
    match session.find_objects(&template).map_err(failed)?.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        _ => Err(KIND.refused(format!("it has more than one version {version} of the key {key}"))),
    }
}

fn must_find(session: &Session, key: KeyId, version: u32) -> Result<ObjectHandle, ProviderError> {
    find(session, key, version)?.ok_or_else(|| KIND.refused(format!("it has no version {version} of the key {key}")))
}

/// What every version is to the token: used there, shown to nobody.
fn template(key: KeyId, number: u32) -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Sign(true),
        Attribute::Verify(true),
        Attribute::Id(id_of(key, number)),
        Attribute::Label(format!("gotgan {key} {number}").into_bytes()),
    ]
}

fn make(session: &Session, key: KeyId, number: u32) -> Result<NewVersion, ProviderError> {
    let mut template = template(key, number);
    template.push(Attribute::ValueLen(32.into()));
    let made = session.generate_key(&Mechanism::AesKeyGen, &template).map_err(failed)?;
    Ok(NewVersion { number, fingerprint: fingerprint(session, made)?, wrapped: Vec::new() })
}

/// Puts a key that was brought into the token. One that takes none from outside says so.
fn take(session: &Session, key: KeyId, brought: &SecretKey) -> Result<NewVersion, ProviderError> {
    let mut template = template(key, 1);
    template.extend([Attribute::Class(ObjectClass::SECRET_KEY), Attribute::KeyType(KeyType::AES)]);
    template.push(Attribute::Value(brought.expose().to_vec()));
    let made = session.create_object(&template).map_err(failed);
    if let Some(Attribute::Value(value)) = template.last_mut() {
        value.zeroize();
    }
    Ok(NewVersion { number: 1, fingerprint: fingerprint(session, made?)?, wrapped: Vec::new() })
}

fn fingerprint(session: &Session, key: ObjectHandle) -> Result<String, ProviderError> {
    Ok(hex::encode(session.sign(&Mechanism::AesCMac, key, FINGERPRINT).map_err(failed)?))
}

/// A version, if it is the one that was made: nothing is done by a key that somebody else made under its name.
fn ours(session: &Session, row: &TenantKeyRow, number: u32) -> Result<ObjectHandle, ProviderError> {
    let known = row.versions.iter().find(|version| version.number == number);
    let known = known.ok_or(SealError::Malformed("version of a tenant key"))?;
    let key = must_find(session, row.id, number)?;
    match fingerprint(session, key)? == known.fingerprint {
        true => Ok(key),
        false => Err(KIND.refused("it holds another key under the name of this one")),
    }
}

fn encrypt(
    session: &Session,
    row: &TenantKeyRow,
    (context, key): &(WrapContext, SecretKey),
) -> Result<Vec<u8>, ProviderError> {
    let outer = ours(session, row, context.wrapping_version)?;
    let mut iv = random::<IV>()?;
    let aad = context.bytes(row.suite);
    let params = GcmParams::new(&mut iv, &aad, TAG_BITS.into()).map_err(failed)?;
    let sealed = session.encrypt(&Mechanism::AesGcm(params), outer, key.expose()).map_err(failed)?;
    Ok(at_provider::stored(row.suite, context, key, &[iv.as_slice(), &sealed].concat()))
}

fn decrypt(
    session: &Session,
    row: &TenantKeyRow,
    (context, wrapped): &(WrapContext, Vec<u8>),
) -> Result<SecretKey, ProviderError> {
    let outer = ours(session, row, context.wrapping_version)?;
    let content = at_provider::content(wrapped, context)?;
    let (iv, sealed) = content.split_first_chunk::<IV>().ok_or(SealError::Malformed("bucket key"))?;
    let (mut iv, aad) = (*iv, context.bytes(row.suite));
    let params = GcmParams::new(&mut iv, &aad, TAG_BITS.into()).map_err(failed)?;
    let plain = Zeroizing::new(session.decrypt(&Mechanism::AesGcm(params), outer, sealed).map_err(failed)?);
    let key = plain.as_slice().try_into().map_err(|_| SealError::Malformed("bucket key"))?;
    Ok(at_provider::proved(SecretKey::from_bytes(key), context, wrapped)?)
}

/// Destroys versions of a key, also those that an interrupted rotation left, and looks for them.
fn destroy(session: &Session, row: &TenantKeyRow, versions: RangeInclusive<u32>) -> Result<String, ProviderError> {
    let mut gone = 0;
    for number in versions {
        if let Some(object) = find(session, row.id, number)? {
            session.destroy_object(object).map_err(failed)?;
            gone += 1;
        }
        if find(session, row.id, number)?.is_some() {
            return Err(KIND.refused(format!("it destroyed version {number} of the key {} and has it still", row.id)));
        }
    }
    Ok(format!("C_DestroyObject for {gone} objects; C_FindObjects then found none of them"))
}

impl Token {
    /// A provider, whose module is not loaded before it is needed.
    #[must_use]
    pub fn new(options: Pkcs11Options) -> Self {
        Self { options: Arc::new(options), guard: Guard::new(KIND), state: Arc::default() }
    }

    /// Runs on a thread that may wait. Whoever waits for a token that hangs waits here, and no thread does.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Session) -> Result<T, ProviderError> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let mut state: OwnedMutexGuard<State> = Arc::clone(&self.state).lock_owned().await;
        let options = Arc::clone(&self.options);
        let done = tokio::task::spawn_blocking(move || state.run(&options, work)).await;
        done.map_err(|_| KIND.unavailable("its module failed"))?
    }
}

#[async_trait]
impl KeyProvider for Token {
    fn kind(&self) -> ProviderKind {
        KIND
    }

    fn place(&self) -> Option<VerifiedPlace> {
        Some(self.options.place.clone())
    }

    async fn create(&self, key: NewKey) -> Result<NewVersion, ProviderError> {
        let work = move |session: &Session| match find(session, key.id, 1)? {
            Some(_) => Err(KIND.refused(format!("a key {} is there already", key.id))),
            None => make(session, key.id, 1),
        };
        self.guard.once("create", || self.run(work)).await
    }

    async fn import(&self, key: NewKey, brought: Brought<'_>) -> Result<NewVersion, ProviderError> {
        let Brought::Opened(brought) = brought else {
            return Err(KIND.refused("name the transport key that it is wrapped to"));
        };
        let work = move |session: &Session| match find(session, key.id, 1)? {
            Some(_) => Err(KIND.refused(format!("a key {} is there already", key.id))),
            None => take(session, key.id, &brought),
        };
        self.guard.once("create", || self.run(work)).await
    }

    async fn rotate(&self, row: &TenantKeyRow) -> Result<NewVersion, ProviderError> {
        let (row, last) = (row.clone(), row.current()?.number);
        let work = move |session: &Session| {
            ours(session, &row, last)?;
            for number in last + 1..=last + LEFT_MAX {
                if find(session, row.id, number)?.is_none() {
                    return make(session, row.id, number);
                }
            }
            Err(KIND.refused("it has more versions of the key than were made"))
        };
        self.guard.once("rotate", || self.run(work)).await
    }

    async fn wrap(
        &self,
        row: &TenantKeyRow,
        bucket_keys: &[(WrapContext, SecretKey)],
    ) -> Result<Vec<Vec<u8>>, ProviderError> {
        let call = || {
            let (row, keys) = (row.clone(), bucket_keys.to_vec());
            self.run(move |session| keys.iter().map(|key| encrypt(session, &row, key)).collect())
        };
        self.guard.call("wrap", call).await
    }

    async fn unwrap(
        &self,
        row: &TenantKeyRow,
        wrapped: &[Wrapped<'_>],
        _reason: Reason,
    ) -> Result<Vec<SecretKey>, ProviderError> {
        let call = || {
            let items: Vec<_> = wrapped.iter().map(|(context, bytes)| (*context, bytes.to_vec())).collect();
            let row = row.clone();
            self.run(move |session| items.iter().map(|item| decrypt(session, &row, item)).collect())
        };
        self.guard.call("unwrap", call).await
    }

    async fn holds(&self, row: &TenantKeyRow) -> Result<(), ProviderError> {
        let last = row.current()?.number;
        let call = || {
            let row = row.clone();
            self.run(move |session| ours(session, &row, last).map(|_| ()))
        };
        self.guard.call("read", call).await
    }

    async fn destroy(&self, row: &TenantKeyRow) -> Result<String, ProviderError> {
        let last = row.current()?.number;
        let call = || {
            let row = row.clone();
            self.run(move |session| destroy(session, &row, 1..=last + LEFT_MAX))
        };
        self.guard.call("destroy", call).await
    }

    async fn destroy_before(&self, row: &TenantKeyRow, version: u32) -> Result<String, ProviderError> {
        let call = || {
            let row = row.clone();
            self.run(move |session| destroy(session, &row, 1..=version.saturating_sub(1)))
        };
        self.guard.call("destroy", call).await
    }
}
