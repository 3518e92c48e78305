"""The record of the last whole runs, and docs/interop.md, whose tables are made from it."""

import json
from pathlib import Path

from harness.install import version
from suites import lists
from suites.suite import Outcome, Result

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "docs" / "interop" / "results.json"
DOCUMENT = ROOT / "docs" / "interop.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
SERVERS = {"comity": "Comity", "prosody": "Prosody", "ejabberd": "ejabberd"}
SECURITY = {"tls": "with TLS", "without-tls": "without TLS"}

Counts = dict[str, dict[str, list[str]]]


def counts(results: list[Result]) -> dict:
    """Per specification how many passed, and the names of those that did not."""
    table: dict = {}
    for result in results:
        row = table.setdefault(result.spec, {"passed": 0, "failed": [], "impossible": []})
        if result.outcome is Outcome.PASSED:
            row["passed"] += 1
        else:
            row[result.outcome.value].append(result.case)
    for row in table.values():
        row["failed"].sort()
        row["impossible"].sort()
    return dict(sorted(table.items()))


def record(title: str, suite: str, security: str, server: str, results: list[Result]) -> None:
    """Puts a whole run into the record."""
    whole = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    run = whole.setdefault(suite, {"runs": {}})
    run["title"] = title
    run["runs"].setdefault(security, {})[server] = {"version": version(server), "specifications": counts(results)}
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")


def write() -> None:
    """Rewrites the tables of the document."""
    whole = json.loads(RECORD.read_text())
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    parts = [section(suite, entry) for suite, entry in whole.items()]
    DOCUMENT.write_text(before + BEGIN + "\n".join(parts) + END + after)


def section(suite: str, entry: dict) -> str:
    """All about one suite."""
    parts = [f"## {entry['title']}\n"]
    for security, runs in sorted(entry["runs"].items()):
        servers = [server for server in SERVERS if server in runs]
        names = [" ".join(filter(None, (SERVERS[server], runs[server]["version"]))) for server in servers]
        jar = " --jar PATH" if suite == "interop-testing" else ""
        command = f"interop/suites/run --suite {suite}{jar} --security {security}"
        parts.append(f"{SECURITY[security].capitalize()}: `{command} --server NAME`\n")
        parts.append(table(names, [runs[server]["specifications"] for server in servers]))
    ours = [runs["comity"] for runs in entry["runs"].values() if "comity" in runs]
    parts.append(rest(suite, ours) if ours else "")
    return "\n".join(parts)


def table(names: list[str], servers: list[dict]) -> str:
    """A row for each specification, a column for each server."""
    specs = sorted({spec for server in servers for spec in server})
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    sums = [[0, 0, 0] for _ in servers]
    for spec in specs:
        cells = []
        for server, total in zip(servers, sums):
            row = server.get(spec, {"passed": 0, "failed": [], "impossible": []})
            numbers = [row["passed"], len(row["failed"]), len(row["impossible"])]
            total[:] = [old + new for old, new in zip(total, numbers)]
            cells.append(cell(numbers))
        lines.append(f"| {spec} | " + " | ".join(cells) + " |")
    lines.append("| **all** | " + " | ".join(f"**{cell(total)}**" for total in sums) + " |\n")
    return "\n".join(lines)


def cell(numbers: list[int]) -> str:
    """Passed, failed, impossible."""
    return " / ".join(map(str, numbers))


def rest(suite: str, runs: list[dict]) -> str:
    """What Comity does not pass, by the reason."""
    known = lists.reasons()
    groups: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        for spec, row in run["specifications"].items():
            for outcome in (Outcome.FAILED, Outcome.IMPOSSIBLE):
                for case in row[outcome.value]:
                    entry = lists.reason(known, suite, Result(spec, case, outcome))
                    key = (entry.kind, entry.words) if entry else ("open", "")
                    groups.setdefault(key, set()).add(case)
    if not groups:
        return "Comity passes all of it.\n"
    lines = ["What Comity does not pass:\n"]
    for (kind, words), cases in sorted(groups.items()):
        names = ", ".join(f"`{case}`" for case in sorted(cases))
        shown = f": {names}" if kind != "not yet" else ""
        lines.append(f"- {kind}{', ' + words if words else ''} ({len(cases)}){shown}")
    return "\n".join(lines) + "\n"
