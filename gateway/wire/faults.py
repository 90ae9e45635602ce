"""What a client or an upstream can do wrong on the wire, each with one defined answer."""

from enum import StrEnum


class FaultCode(StrEnum):
    """Why a request is refused by the data path itself. The value is the `code` of the problem document."""

    REQUEST_LINE = "request-line-malformed"
    VERSION = "version-unsupported"
    METHOD = "method-not-supported"
    TARGET = "target-malformed"
    TARGET_LENGTH = "target-too-long"
    HEADER = "header-malformed"
    HEADER_COUNT = "too-many-headers"
    HEADER_BYTES = "headers-too-large"
    NOMINATION = "connection-names-protected-field"
    HOST = "host-malformed"
    FRAMING = "framing-ambiguous"
    LENGTH = "length-malformed"
    TRANSFER_CODING = "transfer-coding-unsupported"
    CHUNK = "chunk-malformed"
    BODY_BYTES = "body-too-large"
    EXPECTATION = "expectation-unsupported"
    HEAD_TIMEOUT = "request-head-timed-out"
    BODY_TIMEOUT = "request-body-timed-out"
    CONNECTIONS = "too-many-connections"
    PROXY_HEADER = "proxy-header-malformed"
    MISDIRECTED = "misdirected-request"
    CERTIFICATE = "client-certificate-required"
    ORIGIN = "websocket-origin-refused"
    DESTINATION = "destination-refused"

    @property
    def status(self) -> int:
        """HTTP status of the answer."""
        return _STATUS.get(self, 400)


_STATUS = {
    FaultCode.VERSION: 505,
    FaultCode.METHOD: 405,
    FaultCode.TARGET_LENGTH: 414,
    FaultCode.HEADER_COUNT: 431,
    FaultCode.HEADER_BYTES: 431,
    FaultCode.BODY_BYTES: 413,
    FaultCode.EXPECTATION: 417,
    FaultCode.HEAD_TIMEOUT: 408,
    FaultCode.BODY_TIMEOUT: 408,
    FaultCode.CONNECTIONS: 429,
    FaultCode.MISDIRECTED: 421,
    FaultCode.CERTIFICATE: 403,
    FaultCode.ORIGIN: 403,
    FaultCode.DESTINATION: 403,
}


class WireFault(Exception):
    """Somebody broke a rule of HTTP. `code` names the rule; the text says how, without quoting what was sent.

    In what a client sent it is a `RequestFault`; in what an upstream sent the data path turns it into
    `UpstreamFault.PROTOCOL`.
    """

    def __init__(self, code: FaultCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class RequestFault(WireFault):
    """The client broke a rule; the answer is `code.status` and the connection closes."""
