"""Real datasets through real clients: up, down, compared byte by byte.

usage: demo.py BOOTSTRAP_JSON WORK_DIR
Prints one line per client. Ends with 1 when any of them fails.
"""
import glob, hashlib, io, json, os, shutil, subprocess, sys, time
from pathlib import Path

import boto3, minio, obstore, pyarrow as pa, pyarrow.csv, pyarrow.fs, pyarrow.parquet, s3fs
import sklearn, vega_datasets
from s3torchconnectorclient._mountpoint_s3_client import MountpointS3Client

os.environ.pop("AWS_CA_BUNDLE", None)  # the endpoint is plain HTTP on loopback; rclone refuses a bundle
b = json.load(open(sys.argv[1]))
work = Path(sys.argv[2])
endpoint, region, key, secret = b["s3_endpoint"], b["region"], b["access_key_id"], b["secret_access_key"]
host = endpoint.split("://")[1]
bucket = "datasets"
venv = Path(sys.executable).parent
env = dict(os.environ, AWS_ENDPOINT_URL=endpoint, AWS_DEFAULT_REGION=region, AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret,
           AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE="/dev/null", AWS_SHARED_CREDENTIALS_FILE="/dev/null",
           RESTIC_PASSWORD="demo", RESTIC_REPOSITORY=f"s3:{endpoint}/backups", RESTIC_CACHE_DIR=str(work / "cache"),
           RCLONE_CONFIG_G_TYPE="s3", RCLONE_CONFIG_G_PROVIDER="Other", RCLONE_CONFIG_G_ENDPOINT=endpoint,
           RCLONE_CONFIG_G_ACCESS_KEY_ID=key, RCLONE_CONFIG_G_SECRET_ACCESS_KEY=secret, RCLONE_CONFIG_G_REGION=region)
os.environ.update({k: env[k] for k in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED")})
s3 = boto3.client("s3", endpoint_url=endpoint, region_name=region)


def datasets():
    """CSV, JSON and images as the packages ship them, Parquet converted from the CSV, one large file, Korean names."""
    out = work / "in"
    out.mkdir(parents=True)
    for package in (sklearn, vega_datasets):
        root = Path(package.__file__).parent
        for pattern in ("**/*.csv", "**/*.json", "**/*.jpg", "**/*.png", "**/*.csv.gz"):
            for path in root.glob(pattern):
                if "tests" not in path.parts:
                    shutil.copy(path, out / f"{package.__name__}-{path.name}")
    for path in list(out.glob("*.csv")):
        try:
            pa.parquet.write_table(pa.csv.read_csv(path), path.with_suffix(".parquet"))
        except pa.ArrowInvalid:
            pass  # not every CSV is a table of equal rows
    (out / "한글 이름+기호.json").write_text('{"곳간": true}')
    whole = b"".join(p.read_bytes() for p in sorted(out.iterdir()))
    (out / "large.bin").write_bytes(whole * (24 * 2**20 // len(whole) + 1))
    return sorted(out.iterdir())


def run(*command):
    done = subprocess.run([str(c) for c in command], env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout[-500:]}{done.stderr[-800:]}")


def same(folder):
    for path in files:
        got = Path(folder) / path.name
        assert got.read_bytes() == path.read_bytes(), f"{path.name} differs"


def each(put, get):
    for path in files:
        put(path.name, path.read_bytes())
    for path in files:
        assert bytes(get(path.name)) == path.read_bytes(), f"{path.name} differs"


def awscli(out):
    run(venv / "aws", "s3", "cp", "--recursive", "--quiet", work / "in", f"s3://{bucket}/awscli/")
    run(venv / "aws", "s3", "cp", "--recursive", "--quiet", f"s3://{bucket}/awscli/", out)
    same(out)


def boto(out):
    each(lambda n, d: s3.upload_fileobj(io.BytesIO(d), bucket, f"boto3/{n}"), lambda n: s3.get_object(Bucket=bucket, Key=f"boto3/{n}")["Body"].read())


def rclone(out):
    run("rclone", "copy", work / "in", f"g:{bucket}/rclone")
    run("rclone", "check", "--download", work / "in", f"g:{bucket}/rclone")
    run("rclone", "copy", f"g:{bucket}/rclone", out)
    same(out)


def s3cmd(out):
    flags = [f"--access_key={key}", f"--secret_key={secret}", f"--host={host}", f"--host-bucket={host}", "--no-ssl", f"--region={region}", "-q", "-c", "/dev/null"]
    run("s3cmd", *flags, "put", "--recursive", f"{work}/in/", f"s3://{bucket}/s3cmd/")
    out.mkdir()
    run("s3cmd", *flags, "get", "--recursive", f"s3://{bucket}/s3cmd/", f"{out}/")
    same(out)


def restic(out):
    run("restic", "init", "-q")
    run("restic", "backup", "-q", work / "in")
    run("restic", "check", "-q", "--read-data")
    run("restic", "restore", "-q", "latest", "--target", out)
    same(f"{out}{work}/in")


def arrow(out):
    fs = pa.fs.S3FileSystem(access_key=key, secret_key=secret, endpoint_override=host, scheme="http", region=region)
    def put(name, data):
        with fs.open_output_stream(f"{bucket}/pyarrow/{name}", compression=None) as f:
            f.write(data)
    each(put, lambda n: fs.open_input_file(f"{bucket}/pyarrow/{n}").read())
    for path in files:
        if path.suffix == ".parquet":
            assert pa.parquet.read_table(f"{bucket}/pyarrow/{path.name}", filesystem=fs) == pa.parquet.read_table(path)


def fsspec(out):
    fs = s3fs.S3FileSystem(key=key, secret=secret, endpoint_url=endpoint, client_kwargs={"region_name": region})
    each(lambda n, d: fs.pipe(f"{bucket}/s3fs/{n}", d), lambda n: fs.cat(f"{bucket}/s3fs/{n}"))


def objectstore(out):
    store = obstore.store.S3Store(bucket, endpoint=endpoint, region=region, access_key_id=key, secret_access_key=secret,
                                  client_options={"allow_http": True}, virtual_hosted_style_request=False)
    each(lambda n, d: obstore.put(store, f"obstore/{n}", d), lambda n: obstore.get(store, f"obstore/{n}").bytes())


def miniopy(out):
    client = minio.Minio(host, access_key=key, secret_key=secret, secure=False, region=region)
    each(lambda n, d: client.put_object(bucket, f"minio/{n}", io.BytesIO(d), len(d)), lambda n: client.get_object(bucket, f"minio/{n}").read())


def torch(out):
    client = MountpointS3Client(region=region, endpoint=endpoint, user_agent_prefix="demo", throughput_target_gbps=10.0, part_size=8 * 2**20, force_path_style=True)
    def put(name, data):
        stream = client.put_object(bucket, f"torch/{name}")
        stream.write(data)
        stream.close()
    each(put, lambda n: b"".join(client.get_object(bucket, f"torch/{n}")))


CLIENTS = {"aws-cli": awscli, "boto3": boto, "rclone": rclone, "s3cmd": s3cmd, "restic": restic, "pyarrow": arrow, "s3fs": fsspec,
           "obstore": objectstore, "minio-py": miniopy, "s3torchconnector": torch}
files = datasets()
s3.create_bucket(Bucket=bucket)
size = sum(p.stat().st_size for p in files)
print(f"{len(files)} files, {size / 2**20:.1f} MiB")
failed = 0
for name, client in CLIENTS.items():
    begun = time.monotonic()
    try:
        client(work / f"out-{name}")
        print(f"  ok    {name:18} {time.monotonic() - begun:6.1f} s", flush=True)
    except Exception as error:  # one client's failure must not hide the others'
        failed += 1
        print(f"  FAIL  {name:18} {type(error).__name__}: {str(error)[:600]}", flush=True)
sys.exit(failed > 0)
