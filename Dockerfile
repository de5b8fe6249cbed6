# syntax=docker/dockerfile:1
# Sonde with the extras for Kafka and PostgreSQL. One image for every role: the command says which.
FROM python:3.13-slim-bookworm AS build
WORKDIR /build
RUN python -m venv /opt/sonde
COPY requirements.run.lock ./
RUN /opt/sonde/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.run.lock
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN python -m pip wheel --no-cache-dir --disable-pip-version-check --no-deps --wheel-dir /wheels . \
 && /opt/sonde/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps /wheels/*.whl

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/sonde --shell /usr/sbin/nologin sonde \
 && install -d -o sonde -g sonde -m 0700 /var/lib/sonde /run/sonde
COPY --from=build /opt/sonde /opt/sonde
ENV PATH=/opt/sonde/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SONDE_DATA=/var/lib/sonde \
    SONDE_SERVER_HOST=0.0.0.0
USER 10001:10001
WORKDIR /var/lib/sonde
VOLUME /var/lib/sonde
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health/live', timeout=4)"]
ENTRYPOINT ["sonde"]
CMD ["up", "--plain"]
