"""A pytest plugin that writes one line per test: outcome, name, markers."""

import os

FILE = os.environ["TERRANE_OUTCOMES"]
MARKERS = {}
WRITTEN = set()


def pytest_collection_modifyitems(items):
    for item in items:
        MARKERS[item.nodeid] = sorted({marker.name for marker in item.iter_markers()})


def pytest_runtest_logreport(report):
    """Set-up that fails counts as a failure; what comes after the test is clean-up and does not."""
    if report.nodeid in WRITTEN or (report.when == "setup" and report.passed) or report.when == "teardown":
        return
    WRITTEN.add(report.nodeid)
    name = report.nodeid.rsplit("::", 1)[-1]
    with open(FILE, "a", encoding="utf-8") as out:
        out.write("\t".join([report.outcome, name, ",".join(MARKERS.get(report.nodeid, []))]) + "\n")
