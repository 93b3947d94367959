# The project with its environment: once built, README's first command runs without a network.
#     docker build -t gradflow .
#     docker run --rm --network none -v "$PWD/results:/gradflow/results" gradflow
# Apptainer takes the image: apptainer build gradflow.sif docker-daemon://gradflow:latest; see docs/travel.md.
FROM python:3.12-slim-bookworm

# pinned by the base image's release; the data set's package is Debian's copy of Fashion-MNIST
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends dataset-fashion-mnist \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --uid 1000 --create-home gradflow && install -d -o gradflow /gradflow
USER 1000
WORKDIR /gradflow

# the environment first: an edit of the code does not make it again
COPY --chown=gradflow bootstrap.py ./
COPY --chown=gradflow envs ./envs
RUN python3 bootstrap.py true

COPY --chown=gradflow . .
ENTRYPOINT ["python3", "bootstrap.py"]
CMD ["snakemake", "quick"]
