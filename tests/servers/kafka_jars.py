"""Apache Kafka from Maven Central, fetched once and kept in a cache folder outside the repository."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

KAFKA: Final = "4.1.0"
_LOG4J: Final = "2.24.3"
_ARTIFACTS: Final = (
    ("org.apache.kafka", "kafka_2.13", KAFKA),
    ("org.apache.kafka", "kafka-server", KAFKA),
    ("org.apache.logging.log4j", "log4j-slf4j-impl", _LOG4J),
    ("org.apache.logging.log4j", "log4j-core", _LOG4J),
)
_ATTEMPTS: Final = 3
_SECONDS: Final = 600


def cache_folder() -> Path:
    """Where test servers are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "sonde"


def jars() -> Path:
    """The folder with Kafka's jars; fetched if they are not there. Of several that ask at once, one fetches."""
    folder = cache_folder() / "kafka" / KAFKA
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{KAFKA}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(folder)
    return folder


def needed(command: str, package: str) -> str:
    """The path of a command that the tests need."""
    path = shutil.which(command)
    assert path is not None, f"this test starts a real Kafka and needs {command}: apt-get install {package}"
    return path


def _fetch(folder: Path) -> None:
    maven = needed("mvn", "maven")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as work:
        (Path(work) / "pom.xml").write_text(_pom())
        fetched = Path(work) / "jars"
        command = [maven, "-q", "-B", "-f", work, "dependency:copy-dependencies", f"-DoutputDirectory={fetched}"]
        for attempt in range(1, _ATTEMPTS + 1):
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
            if done.returncode == 0:
                break
            assert attempt < _ATTEMPTS, f"Kafka could not be fetched from Maven Central:\n{done.stdout}{done.stderr}"
        fetched.rename(folder)


def _pom() -> str:
    dependencies = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>"
        for group, name, version in _ARTIFACTS
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>sonde</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>"
        f"<packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"
    )
