# The commands people type. CMake does the work; see CMakePresets.json.
JOBS ?= $(shell nproc)
BIN := build/release/bin

.PHONY: help run build check lint test test-dev test-tsan fuzz test-all bench plots dashboards \
        prometheus-rules cuda faiss-cuda format clean setup lint-tools \
        deb deb-test image image-test packaging-tools

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:
	@tools/setup.sh

run: build  ## build, serve the embedded model, stream one completion, serve until Ctrl-C; MODEL=smollm2|qwen|PATH
	@ALCCA_MODEL="$(MODEL)" tools/first_light.sh

build: setup  ## the release build alone
	@cmake --preset release >build-configure.log 2>&1 \
	  || { cat build-configure.log; exit 1; }; rm -f build-configure.log
	@cmake --build build/release -j$(JOBS) --target alccad alcca pages

check: lint-tools  ## the fast loop: format, tests of the tree, units without the emulated device
	@tools/lint.sh format
	@cmake --preset release
	@cmake --build build/release -j$(JOBS) --target unit_tests
	@tools/check.sh build/release

test: setup  ## build and run every test
	@cmake --preset release && cmake --build build/release -j$(JOBS)
	@ctest --test-dir build/release --output-on-failure -j$(JOBS)

test-dev: setup  ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@cmake --preset dev && cmake --build --preset dev -j$(JOBS)
	@ctest --preset dev -j$(JOBS)

test-tsan: setup  ## engine, server and end-to-end tests that start threads, under ThreadSanitizer
	@cmake --preset tsan && cmake --build --preset tsan -j$(JOBS)
	@ctest --preset tsan -j$(JOBS)

FUZZ_SECONDS ?= 30
fuzz: setup  ## every fuzz target for FUZZ_SECONDS (30) over its committed corpus
	@cmake --preset dev && cmake --build --preset fuzz -j$(JOBS)
	@tools/run_fuzzers.sh build/dev/bin $(FUZZ_SECONDS)

test-all: test test-dev test-tsan  ## these three, the cases that the latter two leave out, and fuzz
	@ctest --preset dev-all -j$(JOBS) -L thorough
	@ctest --preset tsan-all -j$(JOBS) -L thorough
	@tools/run_fuzzers.sh build/dev/bin $(FUZZ_SECONDS)

bench: setup  ## build and run the benchmarks: kernels beside the machine's roof, the embedded model
	@cmake --preset release && cmake --build build/release -j$(JOBS)
	@set -e; for b in kernels attention sampling; do $(BIN)/$${b}_bench; done
	@$(BIN)/model_bench --model models/afia-5m

plots:  ## bench/results/*.json and docs/figures/*.json as SVG in docs/figures/
	@python3 tools/plot/plot.py docs/figures $(sort $(wildcard bench/results/*.json docs/figures/*.json))

dashboards:  ## write deploy/grafana/dashboards from generate.py
	@python3 -B deploy/grafana/generate.py

prometheus-rules:  ## write deploy/prometheus' rules as PrometheusRules for deploy/kubernetes
	@python3 -B deploy/prometheus/prometheusrule.py

# CUDA_FLAGS: of CMake, for instance -DALCCA_CUDA_ARCHITECTURES=90a-real.
cuda: setup  ## compile and link with the CUDA backend (needs nvcc 13); no hot kernel may spill
	@tools/build_faiss_cuda.sh --headers-only || echo "cuda: without FAISS' GPU headers"
	@cmake --preset cuda -DBUILD_TESTING=OFF -DALCCA_BENCH=ON $(CUDA_FLAGS)
	@cmake --build build/cuda -j$(JOBS)
	@python3 tools/nvcc_resources.py check --hot kernels/cuda/hot_kernels.txt build/cuda

faiss-cuda: setup  ## FAISS for the local GPU, from Debian's source package, once (minutes)
	@tools/build_faiss_cuda.sh --jobs $(JOBS)

deb: build  ## the Debian package, build/release/alcca-server_*.deb
	@cd build/release && cpack -G DEB && ls -l alcca-server_*.deb

packaging-tools: setup
	@tools/setup.sh packaging-packages.txt

deb-test: deb packaging-tools  ## install, run, remove and purge it under a fresh root's own systemd (root)
	@lintian --fail-on error,warning build/release/alcca-server_*.deb
	@deploy/debian/test_package.sh build/release/alcca-server_*.deb

TARGET ?= cpu
image: packaging-tools  ## the container image as an OCI archive, without an engine (root); TARGET=cuda
	@deploy/container/build_image.sh $(TARGET)

image-test: image build  ## run that image read-only as 65532: stream, drain (root)
	@python3 -B tests/packaging/container_test.py . $(BIN)/alccad build/container/alcca-$(TARGET).tar

format:  ## clang-format every source
	@git ls-files '*.h' '*.cc' '*.cu' '*.cuh' | xargs clang-format-14 -i

lint-tools: setup
	@tools/setup.sh lint-packages.txt

# BASE=COMMIT: clang-tidy over what differs from that commit alone.
lint: lint-tools  ## clang-format's check and clang-tidy over every source (minutes); BASE=COMMIT
	@tools/lint.sh format
	@tools/lint.sh tidy $(BASE)

clean:  ## remove build/
	@rm -rf build
