"""Metadata of elodin_spark; the build system and the tools' settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

core = [
    "aiohttp>=3.9",  # fsspec's http and https
    "astropy>=7.0",
    "astropy-healpix>=1.1",
    "fsspec>=2024.2",
    "matplotlib>=3.8",
    "mocpy>=0.16",
    "numpy>=1.26",
    "opencv-python-headless>=4.8",
    "openTSNE>=1.0.1",
    "pandas>=2.2",
    "pillow>=10.3",
    "psutil>=5.9",
    "pyarrow>=14.0.2",
    "pydantic>=2.7",
    "pyavm>=0.9.6",
    "pyspark>=4.0",
    "pyyaml>=6.0",
    "reproject>=0.14",
    "scikit-image>=0.22",
    "scikit-learn>=1.4",
    "scipy>=1.12",
    "sep>=1.4",
    "sqlglot>=30",
    "tifffile>=2024.1",
    "tqdm>=4.66",
    "typer>=0.12",
    "umap-learn>=0.5.6",
]
extras = {
    # One of the two: both builds of FAISS and of TensorFlow fill the same folders.
    "cpu": ["tensorflow-cpu>=2.18", "keras>=3.6", "faiss-cpu>=1.9", "openvino>=2025.2"],
    "gpu": ["tensorflow[and-cuda]>=2.18", "keras>=3.6", "faiss-gpu>=1.9"],
    # What CPUs run fastest, and what quantizes for it.
    "openvino": ["openvino>=2025.2", "nncf>=2.17"],
    # Keras on JAX; jax[cuda12] is for GPUs.
    "jax": ["jax>=0.6", "keras>=3.6"],
    # What trains fastest; its CUDA build is the one PyPI has.
    "torch": ["torch>=2.4", "keras>=3.6"],
    "simulate": ["galsim>=2.5"],
    "texture": ["mahotas>=1.4.15"],
    "s3": ["s3fs>=2024.2"],
    # petastorm 0.13 breaks with newer ones, and PySpark 4.1 needs newer ones.
    "petastorm": ["petastorm==0.13.1", "pyarrow==14.0.2", "numpy<2", "pyspark>=4.0,<4.1", "setuptools<70"],
    "notebooks": ["ipykernel>=6.29", "nbclient>=0.10", "nbformat>=5.10"],
    "dev": [
        "build>=1.2",
        "hypothesis>=6.100",
        "moto[server]>=5",
        "mypy>=1.10",
        "pandas-stubs",
        "pytest>=8.2",
        "pytest-xdist>=3.7",
        "ruff>=0.5",
        "types-PyYAML",
        "types-tqdm",
    ],
}

setup(
    name="elodin_spark",
    version="0.1.0",
    description="Find what looks alike in survey images: cutouts, fingerprints and neighbors on Spark",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-3-Clause",
    python_requires=">=3.11",
    packages=find_packages(include=["elodin_spark", "elodin_spark.*"]),
    package_data={"elodin_spark": ["py.typed", "spark/*.properties", "weights/*.json", "weights/*.npz"]},
    install_requires=core,
    extras_require=extras,
    entry_points={"console_scripts": ["elodin-spark = elodin_spark.__main__:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Astronomy",
        "Typing :: Typed",
    ],
)
