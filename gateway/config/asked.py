"""How a product that asks us proves who it is."""

from risk.values import Strict


class CloudflareAccess(Strict, tag="cloudflare-access", tag_field="scheme", frozen=True):
    """The application token of Cloudflare Access, in `Cf-Access-Jwt-Assertion`. Only for the kind `cloudflare`.

    Field: team: the team domain, such as `https://example.cloudflareaccess.com`; its keys are read below it.
    Field: audiences: the AUD tags of the Access application in front of `/.gate/posture/NAME`.
    """

    team: str
    audiences: tuple[str, ...]
