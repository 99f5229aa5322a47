# One image; the services of docker-compose.yml differ by command only.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/build.txt requirements/build.txt
RUN pip install --root-user-action=ignore --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY caskeeper caskeeper
COPY worker worker
COPY tasks tasks
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.13-slim
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

# One uid for the volume: every worker must be able to refresh what another one stored (safety.md section 2).
RUN groupadd --gid 10001 caskeeper \
 && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin caskeeper \
 && install -d -o 10001 -g 10001 /cache /work

WORKDIR /opt/caskeeper
COPY requirements/runtime.txt requirements/runtime.txt
RUN pip install --root-user-action=ignore --require-hashes -r requirements/runtime.txt
RUN --mount=from=build,source=/wheels,target=/wheels pip install --root-user-action=ignore --no-deps /wheels/*.whl

USER 10001:10001
WORKDIR /work
VOLUME ["/cache"]
ENV CASKEEPER_CACHEDIR=/cache
ENTRYPOINT ["caskeeper"]
CMD ["--help"]
