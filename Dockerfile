# mmp-run without windows, as a user without rights, on a read-only root.
#
#   docker build -t mmpnet .
#   docker run -d --name mmpnet --restart unless-stopped --read-only --tmpfs /tmp --cap-drop ALL \
#     --security-opt no-new-privileges -e MMPNET_TOKEN=... -p 8000:8000 -v mmpnet:/data \
#     mmpnet --source rtsp://192.168.1.20/stream --line 'door=0,60%,100%,60%' --json events.ndjson
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
COPY . /src
RUN python3 -m venv /opt/mmpnet \
    && /opt/mmpnet/bin/pip install --no-cache-dir --disable-pip-version-check -c /src/constraints.txt \
        '/src[headless,serve,track,record,mqtt]' \
    # trackers asks for OpenCV with windows, whose libraries this image does not have.
    && /opt/mmpnet/bin/pip uninstall --yes --quiet opencv-python \
    && /opt/mmpnet/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --force-reinstall \
        -c /src/constraints.txt opencv-python-headless

FROM ${BASE}
COPY --from=build /opt/mmpnet /opt/mmpnet
# The numbers are those of `nobody`, which every base image has; a camera's device needs its group: --group-add video.
RUN mkdir /data && chown 65534:65534 /data
USER 65534:65534
WORKDIR /data
VOLUME /data
EXPOSE 8000
ENV PATH=/opt/mmpnet/bin:$PATH PYTHONDONTWRITEBYTECODE=1 MMPNET_SERVE=0.0.0.0:8000
STOPSIGNAL SIGTERM
# 503 and the reasons as long as a camera gives no images, so that an orchestrator sees it.
HEALTHCHECK --interval=30s --timeout=5s --start-period=90s CMD ["python3", "-m", "mmpnet.runtime.web.health_check"]
ENTRYPOINT ["mmp-run", "--no-show"]
CMD ["--help"]
