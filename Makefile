# The Lambda function's package (docs/lambda.md). Everything else is cargo's: see README.md.
#
#   make build-lambda [ARCH=x86_64|arm64]   build/lambda/bootstrap and build/obsync-lambda.zip
#   make test-lambda  [ARCH=x86_64|arm64]   checks that Lambda can run them; tests them, if this machine can
#   make clean-lambda

HOST_ARCH := $(patsubst aarch64,arm64,$(shell uname -m))
ARCH ?= $(HOST_ARCH)

CARGO ?= cargo
PYTHON ?= python3
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

target_x86_64 := x86_64-unknown-linux-gnu
target_arm64 := aarch64-unknown-linux-gnu
compiler_x86_64 := x86_64-linux-gnu-gcc
compiler_arm64 := aarch64-linux-gnu-gcc
packages_x86_64 := gcc-x86-64-linux-gnu libc6-dev-amd64-cross
packages_arm64 := gcc-aarch64-linux-gnu libc6-dev-arm64-cross

TARGET := $(target_$(ARCH))
COMPILER := $(compiler_$(ARCH))

# Lambda's kernel seeds its random numbers; a second source costs a cold start 25 to 31 ms. docs/lambda.md has the why.
build_env := AWS_LC_SYS_NO_JITTER_ENTROPY=1
ifneq ($(ARCH),$(HOST_ARCH))
target_upper := $(shell echo '$(TARGET)' | tr 'a-z-' 'A-Z_')
build_env += CARGO_TARGET_$(target_upper)_LINKER=$(COMPILER) CC_$(subst -,_,$(TARGET))=$(COMPILER)
endif

.PHONY: build-lambda test-lambda clean-lambda check-arch

build-lambda: check-arch
	$(build_env) $(CARGO) build --locked --profile lambda --target $(TARGET) --package obsync --bin bootstrap
	mkdir -p build/lambda
	cp '$(TARGET_DIR)/$(TARGET)/lambda/bootstrap' build/lambda/bootstrap
	$(PYTHON) deploy/package.py zip build/lambda/bootstrap build/obsync-lambda.zip

test-lambda: check-arch
	$(PYTHON) deploy/package.py check $(ARCH) build/lambda/bootstrap build/obsync-lambda.zip
ifeq ($(ARCH),$(HOST_ARCH))
	OBSYNC_TEST_BOOTSTRAP='$(CURDIR)/build/lambda/bootstrap' $(CARGO) test --locked --quiet --package obsync --test lambda
endif

clean-lambda:
	rm -rf build/lambda build/obsync-lambda.zip

check-arch:
	@[ -n '$(TARGET)' ] || { echo 'ARCH is $(ARCH): it is x86_64 or arm64' >&2; exit 2; }
	@[ -d "$$(rustc --print target-libdir --target $(TARGET))" ] || { \
	    echo 'ARCH=$(ARCH) needs the Rust target $(TARGET): rustup target add $(TARGET)' >&2; exit 2; }
	@[ '$(ARCH)' = '$(HOST_ARCH)' ] || command -v $(COMPILER) >/dev/null || { \
	    echo 'ARCH=$(ARCH) needs $(COMPILER): apt-get install $(packages_$(ARCH))' >&2; exit 2; }
