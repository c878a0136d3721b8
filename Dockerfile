# Two stages: the wheel is built in one, and installed with its pins in the other. Nothing of the source tree and no
# compiler is in the image. It runs as a user that owns nothing but its state directory; run it with a read-only root.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY requirements/run.txt requirements/run.txt
COPY domain domain
COPY projections projections
COPY adapters adapters
RUN python -m venv /grantledger
RUN /grantledger/bin/pip install -q -r requirements/run.txt
RUN /grantledger/bin/pip install -q --no-deps .

FROM python:3.11-slim-bookworm
COPY --from=build /grantledger /grantledger
ENV PATH=/grantledger/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/grantledger
WORKDIR /var/lib/grantledger
VOLUME /var/lib/grantledger
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["grantledger", "probe", "--config", "/etc/grantledger/grantledger.toml"]
ENTRYPOINT ["grantledger"]
CMD ["serve", "--config", "/etc/grantledger/grantledger.toml"]
