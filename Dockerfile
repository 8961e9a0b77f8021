# canaryd as a daemon. The sandbox's servers are not in it.

FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src

# What canaryd runs with: each file by its hash.
COPY requirements-runtime.lock ./
RUN python -m venv /opt/canaryd \
    && /opt/canaryd/bin/pip install --require-hashes -r requirements-runtime.lock

# What builds the wheel is locked too, in the development lock.
COPY requirements.lock ./
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY analysis analysis
COPY canaryd canaryd
COPY config config
COPY deploy/crd deploy/crd
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/canaryd/bin/pip install --no-deps --no-index /wheels/*.whl \
    && /opt/canaryd/bin/pip check \
    && /opt/canaryd/bin/python -m compileall -q /opt/canaryd/lib \
    && /opt/canaryd/bin/pip uninstall --yes pip

FROM python:3.12-slim
ENV PATH=/opt/canaryd/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/canaryd /opt/canaryd
# A number, because a pod's runAsNonRoot cannot check a name.
USER 65532:65532
ENTRYPOINT ["canaryd"]
CMD ["run"]
