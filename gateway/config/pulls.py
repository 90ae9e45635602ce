"""The section `pull` of a sensor: asking its product."""

from risk.values import ByteSize, Duration, Secret, Strict


class Pull(Strict, frozen=True):
    """How a sensor's product is asked, beside or instead of being listened to.

    Field: url: where the product is; kinds of a cloud service know it themselves.
    Field: interval: from the end of one round to the beginning of the next; a little is added at random.
    Field: timeout: how long one answer may take.
    Field: token: the token of kinds that take one (`fleet`, `kolide`).
    Field: tenant: the directory (tenant) id of Microsoft kinds.
    Field: client_id: the id of the client of kinds that take client credentials.
    Field: client_secret: its secret.
    Field: token_url: another token endpoint than the kind's own.
    Field: scope: another scope than the kind's own.
    Field: page_size: most objects that are asked for at once.
    Field: max_bytes: most bytes of one answer.
    Field: ca: PEM bundle that the product's certificate is checked against, beside those of the system.
    """

    url: str | None = None
    interval: Duration = 300.0
    timeout: Duration = 30.0
    token: Secret | None = None
    tenant: str | None = None
    client_id: str | None = None
    client_secret: Secret | None = None
    token_url: str | None = None
    scope: str | None = None
    page_size: int = 100
    max_bytes: ByteSize = 16777216
    ca: str | None = None
