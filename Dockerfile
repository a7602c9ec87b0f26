# docker build -t layershift .                                    CPU
# docker build -t layershift --build-arg TORCH_INDEX= .           CUDA (run it with --gpus all)
# docker run -p 8501:8501 -v layershift-cache:/app/cache -v "$PWD/studies":/app/studies layershift
FROM python:3.11-slim

# An index to look for torch in besides PyPI, whose own torch for Linux brings CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

RUN useradd --create-home --uid 1000 layershift
WORKDIR /app

COPY requirements.txt .
RUN pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r requirements.txt

COPY LICENSE README.md app.py ./
COPY .streamlit .streamlit
COPY backend backend
COPY pages pages
COPY --chown=layershift studies studies
RUN install -d -o layershift cache

USER layershift
VOLUME ["/app/cache", "/app/studies"]
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
CMD ["streamlit", "run", "app.py", "--server.address=0.0.0.0", "--server.port=8501"]
