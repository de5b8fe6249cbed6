"""Faults with one role a process, on real Kafka and PostgreSQL: whatever dies, stops or loses its connection, nothing confirmed
is lost and nothing is stored twice (I1–I5), all goes on by itself (I4), and nothing grows beyond its bounds (I6)."""

from functools import partial
from pathlib import Path

import pytest

from tests.crash.fleet import check_fleet, fleet_of, senders, wait_for_more
from tests.crash.forgetful import Forgetful
from tests.crash.nodes import counting
from tests.crash.process import Process
from tests.crash.road import seed, wait_for
from tests.crash.test_crash_up import check_runs
from tests.servers.kafka import Kafka
from tests.servers.postgres import postgres_server

pytestmark = pytest.mark.all

ROUNDS = 30


def test_a_processor_killed_at_any_moment(tmp_path: Path, kafka: Kafka, database: str) -> None:
    """Two processors; in each round one of them is killed in whatever phase it is, and another takes its place."""
    with fleet_of(tmp_path, kafka, database, sink=1, processor=2, api=1) as fleet:
        processors = fleet.of("processor")
        with senders(fleet, 2) as clients:
            for number in range(ROUNDS):
                victim = processors[number % 2]
                wait_for(victim.ready, "the processor answering (I4)", 90)
                fleet.wait_for_storing()
                victim.kill()
                victim.launch()
            for process in processors:
                wait_for(process.ready, "the processor answering (I4)", 90)
            wait_for_more(clients)
        check_fleet(fleet, clients)


def test_a_processor_that_slept_while_others_took_over(tmp_path: Path, kafka: Kafka, database: str) -> None:
    """A zombie: it is stopped for longer than the group waits, and wakes up believing that its partitions are its own."""
    with fleet_of(tmp_path, kafka, database, sink=1, processor=2, api=1) as fleet:
        sleeper, other = fleet.of("processor")
        with senders(fleet, 2) as clients:
            fleet.wait_for_storing()
            wait_for(lambda: "have=2" in sleeper.said(), "the partitions being shared out", 60)
            sleeper.freeze()
            wait_for(lambda: "have=4" in other.said().rpartition("have=2")[2], "the other one taking over", 120)
            fleet.wait_for_storing()
            sleeper.thaw()
            wait_for_more(clients)
            wait_for(lambda: "have=2" in other.said().rpartition("have=4")[2], "the sleeper finding its way back", 120)
            fleet.wait_for_storing()
        check_fleet(fleet, clients)


def test_the_database_goes_away_and_comes_back(tmp_path: Path, kafka: Kafka) -> None:
    """It is restarted, its connections are cut, and answers to COMMIT are lost; sinks go on confirming meanwhile."""
    with postgres_server() as server, server.database() as name:
        proxy = Forgetful(server.port, seed())
        through = server.url(name).replace(str(server.port), str(proxy.port))
        try:
            with fleet_of(
                tmp_path, kafka, server.url(name), ways={"processor": through}, sink=1, processor=1, api=1
            ) as fleet:
                api = fleet.of("api")[0]
                with senders(fleet, 2) as clients:
                    fleet.wait_for_storing()
                    proxy.loses = True
                    wait_for(lambda: proxy.lost >= 5, "answers to COMMIT being lost", 90)
                    proxy.loses = False
                    for _ in range(5):
                        fleet.wait_for_storing()
                        assert server.terminate_backends(name) > 0
                    fleet.wait_for_storing()
                    server.stop()
                    wait_for_more(clients)
                    wait_for(lambda: api.ask("GET", "/devices")[0] == 503, "the api saying that it cannot answer")
                    assert api.ask("GET", "/health/live")[0] == 200
                    wait_for_more(clients)
                    server.start()
                    fleet.wait_for_storing()
                    wait_for(lambda: api.ask("GET", "/devices")[0] == 200, "the api answering again (I4)", 60)
                    wait_for_more(clients)
                check_fleet(fleet, clients)
        finally:
            proxy.close()


def test_the_leader_of_three_brokers_is_killed(tmp_path: Path, kafka_of_three: Kafka, database: str) -> None:
    kafka = kafka_of_three
    with fleet_of(tmp_path, kafka, database, copies=3, sink=1, processor=1, api=1) as fleet:
        with senders(fleet, 2) as clients:
            fleet.wait_for_storing()
            for partition in (0, 1):
                leader = kafka.leader(fleet.topic, partition)
                leader.kill()
                wait_for_more(clients, 120)
                fleet.wait_for_storing()
                leader.start()
                kafka.wait()
                wait_for_more(clients)
        check_fleet(fleet, clients)


def test_a_rolling_restart_of_every_role_under_load(tmp_path: Path, kafka: Kafka, database: str) -> None:
    """Each is stopped with SIGTERM, ends with 0 within its time, and comes back; the others go on."""
    with fleet_of(tmp_path, kafka, database, sink=2, processor=2, api=2) as fleet:
        with senders(fleet, 2) as clients:
            fleet.wait_for_storing()
            for process in fleet.processes:
                process.stop()
                wait_for_more(clients)
                process.start()
            fleet.wait_for_storing()
        check_fleet(fleet, clients)


def test_the_broker_goes_away_and_comes_back(tmp_path: Path, kafka: Kafka, database: str) -> None:
    """Sinks say when to come again and confirm nothing; one that is stopped meanwhile ends in its time; a node keeps what it
    cannot send; all heals by itself."""
    with fleet_of(tmp_path, kafka, database, sink=2, processor=1, api=1) as fleet:
        first, second = fleet.of("sink")
        token = fleet.create_token("edge", "--scope", "ingest", "--node", "edge")
        with counting(tmp_path, fleet, second.port, token), senders(fleet, 2) as clients:
            fleet.wait_for_storing()
            try:
                kafka.brokers[0].kill()
                wait_for(lambda: all(client.busy for client in clients), "sinks saying that the broker is away", 60)
                wait_for(lambda: first.ask("GET", "/health/ready")[0] == 503, "the sink not being ready", 60)
                first.stop()
            finally:
                kafka.brokers[0].start()
                kafka.wait()
            wait_for_more(clients)
            first.start()
            for sink in (first, second):
                wait_for(partial(_is_ready, sink), "the sink being ready again (I4)", 60)
            fleet.wait_for_storing()
        check_fleet(fleet, clients)
        assert all({status for status, _ in client.busy} == {503} for client in clients)
        check_runs(fleet, 1)


def _is_ready(process: Process) -> bool:
    return process.ask("GET", "/health/ready")[0] == 200


def test_a_topic_that_grows_under_running_roles(tmp_path: Path, kafka: Kafka, database: str) -> None:
    """Those that run go on with the partitions that there were and say what is wrong; none starts again with another number,
    and all do when they are told to use those that there were."""
    with fleet_of(tmp_path, kafka, database, sink=1, processor=1, api=1) as fleet:
        (sink,), (processor,) = fleet.of("sink"), fleet.of("processor")
        with senders(fleet, 2) as clients:
            fleet.wait_for_storing()
            kafka.add_partitions(fleet.topic, 6)
            wait_for(lambda: b"it had 4" in processor.ask("GET", "/health/ready")[2], "the processor saying so", 60)
            wait_for_more(clients)
            fleet.wait_for_storing()
            sink.stop()
            sink.launch()
            assert sink.wait(90) == 1
            assert "use_partitions = 4" in sink.said()
            for process in fleet.processes:
                process.kill()
                process.environment["SONDE_KAFKA_USE_PARTITIONS"] = "4"
                process.launch()
            for process in fleet.processes:
                wait_for(process.ready, f"{process.role} answering (I4)", 90)
                wait_for(partial(_is_ready, process), f"{process.role} being ready (I4)", 90)
            wait_for_more(clients)
            fleet.wait_for_storing()
        check_fleet(fleet, clients)
