"""What the program says about itself: every metric, on one page. ``docs/metrics.md`` explains each."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One set of counters; a program has one, and passes it to its parts."""

    def __init__(self) -> None:  # noqa: PLR0915 - one line a metric
        registry = self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"sonde_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"sonde_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...] = _FAST) -> Histogram:
            return Histogram(f"sonde_{name}", text, buckets=buckets, registry=registry)

        self.sensor_readings = counter("sensor_readings_total", "Readings that sensors gave", "sensor")
        self.sensor_failures = counter("sensor_failures_total", "Readings that failed", "sensor", "reason")
        self.sensor_restarts = counter("sensor_restarts_total", "Times a sensor was made again", "sensor")
        self.outbox_readings = counter("outbox_readings_total", "Readings committed to the outbox", "lane")
        self.outbox_bytes = gauge("outbox_bytes", "Bytes that wait in the outbox", "lane")
        self.outbox_entries = gauge("outbox_entries", "Entries that wait in the outbox", "lane")
        self.outbox_dropped = counter(
            "outbox_dropped_readings_total", "Readings dropped because the outbox was full", "lane"
        )
        self.uplink_readings = counter("uplink_readings_total", "Readings that a sink has confirmed", "lane")
        self.uplink_failures = counter("uplink_failures_total", "Sends that failed", "lane", "reason")
        self.uplink_rejected = counter("uplink_rejected_total", "Entries that a sink will never take", "lane")

        self.requests = counter("sink_requests_total", "Requests with readings, by status", "route", "status")
        self.received = counter("sink_received_readings_total", "Readings that arrived and were taken", "form")
        self.received_bytes = counter("sink_received_bytes_total", "Bytes of bodies that arrived")
        self.refused = counter("sink_refused_total", "Requests refused", "reason")
        self.durable = counter("sink_durable_readings_total", "Readings confirmed as durable")
        self.commit_seconds = histogram("sink_commit_seconds", "From a group's first request to its fsync")
        self.log_bytes = counter("log_bytes_total", "Bytes appended to the log")
        self.log_frames = counter("log_frames_total", "Frames appended to the log")
        self.last_durable = gauge("log_last_durable_seconds", "When the log was last written, Unix time")

        self.stored = counter("processor_stored_readings_total", "Readings stored")
        self.duplicate = counter("processor_duplicate_readings_total", "Readings dropped because they were there")
        self.late = counter("processor_late_readings_total", "Readings older than the newest of their series")
        self.set_aside = counter("processor_set_aside_readings_total", "Readings set aside", "reason")
        self.dead_letters = counter(
            "processor_dead_letters_total", "Records that could not be read, put away", "reason"
        )
        self.lag_frames = gauge("processor_lag_frames", "Frames in the log that are not stored yet")
        self.lag_seconds = gauge("processor_lag_seconds", "Age of the oldest frame that is not stored yet")
        self.step_seconds = histogram("processor_step_seconds", "One step of the processor: read, fold, commit")
        self.remembered = gauge("processor_identities_since_seconds", "Identities are remembered since, Unix time")
        self.rebuilds = counter("store_rebuilds_total", "Times the store was made again from the log", "reason")
        self.series = gauge("store_series", "Series known")
        self.alerts_open = gauge("store_alerts_open", "Alerts that are not resolved", "severity", "state")
        self.alert_events = counter("processor_alert_events_total", "What became of alerts", "event")
        self.notices = counter("notices_total", "Notices to people outside that were settled", "target", "fate")
        self.notices_waiting = gauge("notices_waiting", "Notices to people outside that wait", "target")
        self.parts = gauge("store_parts", "Sealed parts")
        self.part_bytes = gauge("store_part_bytes", "Bytes of sealed parts")
        self.seal_seconds = histogram("store_seal_seconds", "Writing a generation of hot readings as parts")

        self.answers = histogram("api_answer_seconds", "Questions answered by the api")
        self.wrong_tokens = counter("api_wrong_tokens_total", "Requests with a token that is not valid")
        self.connections = gauge("api_connections", "Open connections")
        self.tls_refused = counter("tls_refused_total", "Connections that ended before TLS was agreed", "reason")
        self.certificate_expires = gauge(
            "tls_certificate_expires_seconds", "When a certificate ends, Unix time", "certificate"
        )
        self.live_clients = gauge("live_clients", "Clients that watch the live feed")
        self.live_readings = counter("live_readings_total", "Readings sent to clients of the live feed")
        self.live_gaps = counter("live_gaps_total", "Times a client was told that it missed something", "reason")
        self.live_seconds = histogram("live_flush_seconds", "Putting together and sending what had come")
        self.commands = counter("commands_total", "Commands that came so far", "state")
        self.commands_open = gauge("commands_open", "Commands that are not over")
        self.downlinks = gauge("downlinks", "Nodes that wait for commands")
        self.disk_free = gauge("disk_free_bytes", "Bytes free where the data directory is")
        self._add_letting_go(counter, gauge)

    def _add_letting_go(self, counter: Callable[..., Counter], gauge: Callable[..., Gauge]) -> None:
        """What retention and purges do, and what is short."""
        self.log_size = gauge("log_size_bytes", "Bytes that the log takes on the disk")
        self.log_cut = counter("log_cut_frames_total", "Frames that were cut off the old end of the log")
        self.removed = counter("store_removed_readings_total", "Readings let go of by retention or a purge", "why")
        self.floor = gauge("store_floor_seconds", "Nothing from before is kept, Unix time", "what")
        self.node_clock = gauge("node_clock_ahead_seconds", "How far a node's clock is ahead of this one", "node")
        self.log_proved = gauge("log_proved_seconds", "When the log was last known to be writable, Unix time")
        self.shed = counter("disk_shed_total", "Times something was shed because the disk was nearly full", "what")
