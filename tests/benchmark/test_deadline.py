import signal
import subprocess
import sys
import threading
import time

import pytest

from vlagen.benchmark.deadline import DeadlineExceeded, Watch


def test_what_is_quick_enough_is_left_alone():
    before = signal.getsignal(signal.SIGALRM)
    with Watch(5) as limit, limit("counting"):
        result = 1 + 1
    assert result == 2
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize("hang", [lambda: time.sleep(60), lambda: [None for _ in iter(int, 1)]], ids=["sleep", "loop"])
def test_what_hangs_is_ended_by_name(hang):
    started = time.perf_counter()
    message = r"thinking took more than 0.2 s; --timeout"
    with pytest.raises(DeadlineExceeded, match=message), Watch(0.2) as limit, limit("thinking"):
        hang()
    assert time.perf_counter() - started < 5


def test_the_alarm_is_off_after_something_else_was_raised():
    with pytest.raises(ZeroDivisionError), Watch(0.2) as limit, limit("dividing"):
        raise ZeroDivisionError
    time.sleep(0.3)


def test_no_limit_sets_no_alarm():
    with Watch(None) as limit, limit("anything"):
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_other_threads_have_no_limit():
    finished = []

    def work():
        with Watch(0.05) as limit, limit("working"):
            time.sleep(0.2)
        finished.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert finished


def test_a_process_that_cannot_even_raise_is_ended_and_says_where():
    # A lock that is never released, waited for in C, stands for a library that hangs with signals blocked.
    code = (
        "import signal, time; from vlagen.benchmark import deadline as module\n"
        "module.GRACE = 0.3\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
        "with module.Watch(0.2, fatal=True) as limit, limit('hanging'): time.sleep(60)\n"
    )
    started = time.perf_counter()
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert process.returncode == 1
    assert "line 4" in process.stderr
    assert time.perf_counter() - started < 20


def test_one_alarm_serves_many_calls_and_each_has_its_own_time():
    with Watch(0.4) as limit:
        for _ in range(4):  # 1.2 s in all, none of them too long
            with limit("resting"):
                time.sleep(0.3)
        with pytest.raises(DeadlineExceeded, match=r"sleeping took more than 0.4 s"), limit("sleeping"):
            time.sleep(60)
        with limit("resting"):
            time.sleep(0.1)
        with pytest.raises(DeadlineExceeded, match="sleeping again"), limit("sleeping again"):
            time.sleep(60)


def test_nothing_is_ended_between_calls():
    with Watch(0.1) as limit:
        with limit("resting"):
            pass
        time.sleep(0.4)
        with limit("resting"):
            pass


def test_a_call_that_uses_the_alarm_itself_does_not_take_the_limit_from_the_next():
    def own_alarm():
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0)

    with Watch(0.2) as limit:
        with limit("borrowing the alarm"):
            own_alarm()
        with pytest.raises(DeadlineExceeded, match="sleeping"), limit("sleeping"):
            time.sleep(60)


def test_a_watched_process_that_only_takes_its_time_is_not_ended():
    code = (
        "import time; from vlagen.benchmark import deadline as module\n"
        "module.GRACE = 0.05\n"
        "with module.Watch(0.4, fatal=True) as limit:\n"
        "    for _ in range(8):\n"
        "        with limit('resting'): time.sleep(0.3)\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert process.returncode == 0, process.stderr
