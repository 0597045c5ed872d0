"""A server that answers slowly, a byte at a time, without end, or not at all ends a request within its limit."""

import threading
import time

import pytest
from support.bad_servers import BadServer, Fault, bad_server

from tflite_recipes.tracking.client import client, first_line
from tflite_recipes.tracking.patience import NoAnswer, Patience, limited
from tflite_recipes.tracking.server_errors import is_silence

pytestmark = pytest.mark.slow
LIMIT_S = 0.3
# A generous bound for a machine under load: what these faults take without a limit is minutes, or for ever.
SOON_S = 20


@pytest.fixture(scope="module")
def server():
    with bad_server() as running:
        yield running


def asked(server: BadServer, patience: Patience):
    with limited(patience):
        return client(server.uri).search_experiments(max_results=1)


def test_right_answers_are_read_whole(server):
    server.set(Fault.NONE)
    assert [found.name for found in asked(server, Patience(LIMIT_S * 10))] == ["tflite_recipes"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.HANG, "no answer"),
        (Fault.DRIP, "no whole answer"),
        (Fault.DRIP_BODY, "no whole answer"),
        (Fault.CONTINUE, "no whole answer"),
        (Fault.ENDLESS, "more than 1.05 MB"),
        (Fault.ENDLESS_GZIP, "more than 1.05 MB"),
        (Fault.ENDLESS_ERROR, "more than 1.05 MB"),
        (Fault.CLOSE, "it closed the connection"),
        (Fault.NO_JSON, "not what an MLflow server sends"),
        (Fault.DEEP_JSON, "not what an MLflow server sends"),
        (Fault.OTHER_JSON, "not what an MLflow server sends"),
        (Fault.ERROR, "error 500"),
    ],
)
def test_each_fault_ends_in_words_within_the_limit(server, fault, words):
    server.set(fault, pause_s=0.02)
    since = time.monotonic()
    with pytest.raises(Exception) as raised:
        asked(server, Patience(30, LIMIT_S if words.startswith("no ") else 10, answer_bytes=1 << 20))
    assert time.monotonic() - since < SOON_S
    text = first_line(raised.value)
    assert words in text
    assert len(text) < 200
    assert is_silence(raised.value) == (
        fault not in (Fault.CLOSE, Fault.NO_JSON, Fault.DEEP_JSON, Fault.OTHER_JSON, Fault.ERROR)
    )


def test_answers_that_do_not_come_are_counted_together_and_slow_ones_are_not(server):
    patience = Patience(total_s=1.0, one_s=0.7)
    server.set(Fault.SLOW, pause_s=0.1)
    for _ in range(3):
        asked(server, patience)
    assert patience.spent_s == 0
    server.set(Fault.HANG)
    for _ in range(2):
        with pytest.raises(Exception, match="no answer"):
            asked(server, patience)
    assert patience.spent_s == pytest.approx(1.0, abs=0.1)
    server.set(Fault.NONE)
    with pytest.raises(Exception, match="waiting in all are over"):
        asked(server, patience)
    assert server.asked == []


def test_slow_answers_of_a_command_are_counted_for_what_they_take_longer(server):
    patience = Patience(total_s=0.4, one_s=5, free_s=0.1)
    server.set(Fault.SLOW, pause_s=0.3)
    asked(server, patience)
    assert patience.spent_s >= 0.15
    with pytest.raises(Exception, match="too slowly"):
        asked(server, patience)


def test_waiting_ends_from_another_thread_while_the_server_hangs(server):
    server.set(Fault.HANG)
    patience, errors = Patience(60, 60), []

    def ask():
        try:
            asked(server, patience)
        except Exception as error:
            errors.append(first_line(error))

    thread = threading.Thread(target=ask)
    thread.start()
    while not server.asked:
        time.sleep(0.01)
    patience.end()
    thread.join(SOON_S)
    assert not thread.is_alive()
    assert len(errors) == 1
    with pytest.raises(NoAnswer):
        patience.limit_s()


def test_users_own_shorter_timeout_and_retries_win(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server.set(Fault.HANG)
    with pytest.raises(Exception, match=r"within 1 s|in all are over"):
        asked(server, Patience(30, 20))
    server.set(Fault.ERROR)
    with pytest.raises(Exception, match="500"):
        asked(server, Patience(30, 20))
    assert len(server.asked) == 1


def test_users_many_retries_do_not_outlast_the_limit(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "8")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "20")
    server.set(Fault.ERROR)
    since = time.monotonic()
    with pytest.raises(Exception, match="no "):
        asked(server, Patience(30, 1))
    assert time.monotonic() - since < SOON_S


def test_requests_of_others_have_no_limit_of_ours(server):
    server.set(Fault.SLOW, pause_s=0.3)
    assert len(client(server.uri).search_experiments(max_results=1)) == 1


@pytest.mark.parametrize("uri", ["http://no-such-host.invalid", "https://no-such-host.invalid:5000/x"])
def test_name_that_does_not_resolve_is_put_in_words(uri):
    with pytest.raises(Exception) as raised, limited(Patience()):
        client(uri).search_experiments(max_results=1)
    text = first_line(raised.value, uri)
    assert "no-such-host.invalid is unknown" in text
    assert "Errno" not in text


def test_download_is_read_up_to_its_size_and_goes_on_while_it_makes_progress(server, tmp_path):
    from mlflow.utils.request_utils import cloud_storage_http_request as request

    client(server.uri)
    server.set(Fault.ENDLESS)
    with limited(Patience(file_bytes=3 << 20)), pytest.raises(NoAnswer, match="more than"):
        for _ in request("get", server.uri, stream=True).iter_content(1 << 16):
            pass
    patience = Patience(30, LIMIT_S, file_bytes=2**40)
    since, total = time.monotonic(), 0
    with limited(patience):
        for chunk in request("get", server.uri, stream=True).iter_content(1 << 16):
            total += len(chunk)
            if time.monotonic() - since > 2 * LIMIT_S:
                break
    assert total > 1 << 16
