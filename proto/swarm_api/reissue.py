"""Who a node with an ended certificate is: its old certificate, and a signature with its key.

What is signed is the request for the new certificate, so the proof is of no use to anybody else: the answer holds a
certificate for a key that only the node has.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from swarm_api.identity import CertificateError, Identity, identify, load_certificate, load_key

_CONTEXT = b"raftswarm reissue 1\n"  # so that no other signature of the key can be taken for this one


def prove(old_key_pem: bytes, csr_pem: bytes) -> bytes:
    """The signature that goes with a request for a certificate in place of the one with this key."""
    return load_key(old_key_pem).sign(_CONTEXT + csr_pem, ec.ECDSA(hashes.SHA256()))


def proven_identity(old_certificate_pem: bytes, csr_pem: bytes, signature: bytes, ca_pem: bytes) -> Identity:
    """Whose certificate that was, ended or not; CertificateError unless the CA issued it and its key signed."""
    identity = identify(old_certificate_pem, ca_pem)
    key = load_certificate(old_certificate_pem).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise CertificateError("the old certificate's key is not an ECDSA key")
    try:
        key.verify(signature, _CONTEXT + csr_pem, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise CertificateError("the request was not signed with the old certificate's key") from error
    return identity
