"""The scheme `client-certificate` of sensors: the sender proves itself in the TLS handshake."""

from risk.values import Strict


class ClientCertificate(Strict, tag="client-certificate", tag_field="scheme", frozen=True):
    """A TLS client certificate, for senders that can present one (Alertmanager, Elastic, Falcosidekick).

    Field: ca: PEM bundle of the CA that issues the certificates of this sensor's senders.
    Field: names: who may send: each is a DNS name, URI or address of the certificate, or its common name when it has
        none of these.
    Field: header: whether a trusted proxy ends TLS and passes the certificate on as `Client-Cert` (RFC 9440).
    """

    ca: str
    names: tuple[str, ...]
    header: bool = False
