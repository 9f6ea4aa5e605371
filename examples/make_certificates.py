"""Makes the certificates that the TLS examples need, in ``certificates/`` beside this file.

    python make_certificates.py

An authority (``ca``), a certificate for a server on this machine (``server``), and one for each client (``hello``,
``goodbye``). They are for trying things out: each run makes new ones, good for a week, and no key leaves the
directory. docs/tls.md shows the same commands one by one, and what to do for real.
"""

import subprocess
from pathlib import Path

FOLDER = Path(__file__).with_name("certificates")
DAYS = "7"
KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
SERVER = ["subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1", "extendedKeyUsage = serverAuth"]
CLIENT = ["extendedKeyUsage = clientAuth"]


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], cwd=FOLDER, check=True, stderr=subprocess.DEVNULL)


def make_authority():
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    openssl(
        "req", "-x509", *KEY, "-days", DAYS, "-subj", "/CN=authority of the examples", *usage,
        "-keyout", "ca.key", "-out", "ca.crt",
    )  # fmt: skip


def make_certificate(name, purpose):
    wishes = ["basicConstraints = critical, CA:FALSE", "subjectKeyIdentifier = hash", "authorityKeyIdentifier = keyid"]
    (FOLDER / f"{name}.ext").write_text("\n".join([*wishes, *purpose]))
    openssl("req", *KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    openssl(
        "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", DAYS,
        "-extfile", f"{name}.ext", "-out", f"{name}.crt",
    )  # fmt: skip
    for rest in ("ext", "csr"):
        (FOLDER / f"{name}.{rest}").unlink()


FOLDER.mkdir(mode=0o700, exist_ok=True)
make_authority()
make_certificate("server", SERVER)
for client in ("hello", "goodbye"):
    make_certificate(client, CLIENT)
print(f"made {', '.join(sorted(path.name for path in FOLDER.iterdir()))} in {FOLDER.resolve()}")
