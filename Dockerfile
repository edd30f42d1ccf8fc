FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /app

COPY pyproject.toml README.md LICENSE ./
COPY busauth busauth
# pip knows groups since 25.1.
RUN pip install "pip>=25.1" && pip install ".[starlette]" --group demo
COPY workers workers

RUN useradd --system --no-create-home shop
USER shop

CMD ["python", "-m", "workers.gateway"]
