FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /app

COPY pyproject.toml README.md LICENSE ./
COPY busauth busauth
RUN pip install ".[demo]"
COPY workers workers

RUN useradd --system --no-create-home shop
USER shop

CMD ["python", "-m", "workers.gateway"]
