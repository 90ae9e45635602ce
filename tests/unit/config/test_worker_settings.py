"""What workers are told of the configuration: the server's bounds where an app has none of its own."""

from gateway.config.schema import App, Config, Limits, Provider, Server, Timeouts
from gateway.feed.settings import decode_settings, encode_settings, worker_settings

LIMITS = Limits(body_bytes=1000, connect_timeout=3.0)


def settings(**app: object) -> object:
    config = Config(
        public_url="https://login.corp.example",
        providers=(Provider(name="corp", issuer="https://idp.corp.example", client_id="gate"),),
        apps=(App(name="wiki", host="wiki.corp.example", **{"upstream": "http://a:1"} | app),),
        server=Server(limits=LIMITS),
    )
    made = worker_settings(config, "1")
    assert decode_settings(encode_settings(made)) == made
    return made.apps[0]


def test_an_app_without_bounds_has_those_of_the_server() -> None:
    app = settings()
    assert (app.body_bytes, app.limits, app.upstreams) == (1000, None, ("http://a:1",))


def test_an_app_with_bounds_keeps_them() -> None:
    app = settings(
        body_bytes=7,
        timeouts=Timeouts(response=1.0),
        upstream=("http://a:1", "http://b:1"),
        cors_preflights=True,
    )
    assert app.cors_preflights
    assert app.body_bytes == 7
    assert (app.limits.response_timeout, app.limits.connect_timeout) == (1.0, 3.0)
    assert app.upstreams == ("http://a:1", "http://b:1")


def test_a_prefix_to_add_ends_without_a_slash() -> None:
    assert settings(add_prefix="/v2/").add_prefix == "/v2"
    assert settings(add_prefix="/").add_prefix == ""
