"""Certificates for one run: an authority that every server trusts and one that nobody trusts."""

import base64
import enum
import hashlib
from dataclasses import dataclass
from pathlib import Path

from harness.process import run


class Usage(enum.Enum):
    """The extended key usage of a certificate."""

    SERVER = "serverAuth"  # what public authorities issue
    SERVER_AND_CLIENT = "serverAuth,clientAuth"


@dataclass(frozen=True)
class Certificate:
    """A certificate chain and its key, as PEM files."""

    chain: Path
    key: Path


class Authority:
    """A certificate authority made with openssl for this run only."""

    def __init__(self, directory: Path, name: str):
        self._directory = directory
        self._name = name
        self.root = directory / "root.pem"
        self._key = directory / "root.key"

    async def create(self) -> None:
        """Makes the root certificate."""
        self._directory.mkdir(parents=True)
        await run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", f"/CN={self._name}", "-keyout", str(self._key), "-out", str(self.root),
             "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        )

    async def issue(
        self, domain: str, usage: Usage, days: int = 2, more: str = "", also: tuple[str, ...] = ()
    ) -> Certificate:
        """Issues a certificate for one DNS name, and for those in `also`, with `more` lines of extensions."""
        name = f"{domain}-{usage.name.lower()}"
        chain, key = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        if chain.exists():
            return Certificate(chain, key)
        request, extensions = self._directory / f"{name}.csr", self._directory / f"{name}.ext"
        extensions.write_text(
            f"subjectAltName={','.join(f'DNS:{name}' for name in (domain, *also))}\nbasicConstraints=critical,CA:FALSE\n"
            f"keyUsage=critical,digitalSignature\nextendedKeyUsage={usage.value}\n{more}"
        )
        await run(
            ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-subj", f"/CN={domain}", "-keyout", str(key), "-out", str(request)]
        )
        await run(
            ["openssl", "x509", "-req", "-in", str(request), "-CA", str(self.root), "-CAkey", str(self._key),
             "-CAcreateserial", "-days", str(days), "-extfile", str(extensions), "-out", str(chain)]
        )
        chain.write_text(chain.read_text() + self.root.read_text())
        return Certificate(chain, key)

    async def trust_store(self, directory: Path) -> Path:
        """A directory to lay over /etc/ssl/certs: the bundle file, and the root under its OpenSSL hash."""
        directory.mkdir(parents=True)
        (directory / "ca-certificates.crt").write_text(self.root.read_text())
        digest = (await run(["openssl", "x509", "-noout", "-hash", "-in", str(self.root)])).strip()
        (directory / f"{digest}.0").write_text(self.root.read_text())
        return directory


async def public_key_hash(certificate: Certificate) -> str:
    """The SHA-256 hash of the SubjectPublicKeyInfo: what TLSA records of the form `3 1 1` have (RFC 6698)."""
    pem = await run(["openssl", "x509", "-in", str(certificate.chain), "-noout", "-pubkey"])
    body = "".join(line for line in pem.splitlines() if not line.startswith("-----"))
    return hashlib.sha256(base64.b64decode(body)).hexdigest()
