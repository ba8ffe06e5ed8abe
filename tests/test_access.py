"""A service beyond loopback: who may ask."""

import pytest
from conftest import Live

from tsfm import settings
from tsfm.access import Access
from tsfm.errors import ConfigError

BODY = {"input": list(range(12)), "next_len": 1}


@pytest.fixture
def configured(serve, tmp_path):
    def start(lines: str) -> Live:
        (tmp_path / "token").write_text("geheim\n")
        ini = tmp_path / "tsfm.ini"
        ini.write_text(f"[naive]\n{lines}\n")
        return serve("naive", env={"TSFM_INI": str(ini)}).until_ready()

    return start


def test_a_network_that_is_not_allowed_gets_403_with_its_address(configured):
    live = configured("allow = 10.0.0.0/8")
    refused = live.post("/ds_predict", BODY)
    assert refused.status == 403
    assert refused.json["error"] == "127.0.0.1 is in none of the networks that may ask"


def test_a_network_that_is_allowed_is_answered(configured):
    assert configured("allow = 10.0.0.0/8, 127.0.0.0/8").post("/ds_predict", BODY).status == 200


def test_a_token_is_asked_for_everywhere_but_on_probes(configured, tmp_path):
    live = configured(f"token_file = {tmp_path}/token")
    assert live.post("/ds_predict", BODY).status == 401
    assert live.get("/metrics").status == 401
    assert live.get("/healthz").status == 200
    assert live.post("/ds_predict", BODY, headers={"Authorization": "Bearer falsch"}).status == 401
    assert live.post("/ds_predict", BODY, headers={"Authorization": "Bearer geheim"}).status == 200


@pytest.mark.parametrize("content", [None, "  \n"])
def test_a_token_file_without_a_token_is_wrong_configuration(tmp_path, content):
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    ini = tmp_path / "tsfm.ini"
    ini.write_text(f"[DEFAULT]\ntoken_file = {path}\n")
    with pytest.raises(ConfigError) as error:
        Access(settings.read("naive", {}, ini))
    what = "cannot be read: No such file or directory" if content is None else "is empty"
    assert str(error.value) == f"{ini}: [DEFAULT] token_file: {path} {what}"


def test_listening_for_everyone_is_warned_of(caplog):
    Access(settings.read("naive", {"host": "0.0.0.0"}))
    assert "listening on 0.0.0.0 for everyone" in caplog.text
    caplog.clear()
    Access(settings.read("naive", {"host": "0.0.0.0", "allow": "10.0.0.0/8"}))
    Access(settings.read("naive", {}))
    assert not caplog.text


def test_networks_are_refused_in_words():
    with pytest.raises(ConfigError, match=r"--allow: expected networks such as 10\.0\.0\.0/8, but"):
        settings.read("naive", {"allow": "10.0.0.1/8"})
