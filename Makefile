# SPDX-License-Identifier: GPL-2.0-only
# What a person types. The kernel build reads Kbuild instead.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory

FLAVOURS := rust c rust-debug c-debug rust-lab rust-lab-debug rust-small
FLAVOUR ?= rust
SELFTESTS := build/selftests/x86_64-unknown-linux-gnu/release

ifeq ($(filter $(FLAVOUR),$(FLAVOURS)),)
$(error unknown FLAVOUR '$(FLAVOUR)', one of: $(FLAVOURS))
endif
# Variables that a command reads from its environment.
export KERNEL_SRC UFFD_CACHE JOBS

.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@echo 'usage: make TARGET [FLAVOUR=$(FLAVOUR)]   flavours: $(FLAVOURS)'
	@grep -hE '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) |
		sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 20
	@echo 'variables: KERNEL_SRC=tree-or-tarball  UFFD_CACHE=folder  JOBS=n  ARGS="more arguments"  SCENARIO=name'

.PHONY: setup
setup: ## install packages and bindgen
	@qemu/setup

.PHONY: kernel
kernel: setup ## build the kernel of FLAVOUR
	@qemu/kernel build $(FLAVOUR)

.PHONY: programs
programs: setup ## build the guest's programs
	@qemu/programs

.PHONY: demo
demo: kernel programs ## build, boot, and watch page faults handled by a thread
	@qemu/run --flavour $(FLAVOUR) --exec $(SELFTESTS)/uffd-demo $(ARGS)

.PHONY: check
check: setup ## every test that fits into an hour
	@qemu/check $(ARGS)

.PHONY: check-long
check-long: setup ## check, and what takes longer
	@qemu/check --long $(ARGS)

.PHONY: check-configs
check-configs: programs ## kernels with one option off, C and Rust compared
	@qemu/check-configs $(ARGS)

.PHONY: test
test: kernel programs ## the guest suite on FLAVOUR, for example ARGS="--filter copy"
	@qemu/run --flavour $(FLAVOUR) $(ARGS)

.PHONY: shell
shell: kernel programs ## a shell in a guest of FLAVOUR
	@qemu/run --flavour $(FLAVOUR) --shell $(ARGS)

.PHONY: bench
bench: programs ## what userfaultfd costs, C beside Rust, for example ROWS="readers fault-read"
	@qemu/kernel build c rust
	@qemu/bench $(ROWS) $(ARGS)

.PHONY: bench-compare
bench-compare: ## two files of results beside each other: A=old.json B=new.json
	@if [ -z '$(A)' ] || [ -z '$(B)' ]; then
		echo 'usage: make bench-compare A=old.json B=new.json' >&2
		exit 2
	fi
	@qemu/bench --compare '$(A)' '$(B)'

# Unless told otherwise with all the checks that the kernel has.
STUDY_FLAVOUR := $(if $(filter file,$(origin FLAVOUR)),rust-debug,$(FLAVOUR))
.PHONY: study
study: programs ## play SCENARIO with tracepoints on, and draw it (without SCENARIO: list them)
	@qemu/study --list $(SCENARIO) $(if $(SCENARIO),>/dev/null)
	if [ -n "$(SCENARIO)" ]; then
		qemu/kernel build $(STUDY_FLAVOUR)
		qemu/study --flavour $(STUDY_FLAVOUR) $(SCENARIO) $(ARGS)
	fi

.PHONY: study-matrix
study-matrix: programs ## every bug of the laboratory, and what catches it
	@qemu/kernel build rust-lab rust-lab-debug
	@qemu/study-matrix $(ARGS)

.PHONY: clippy
clippy: kernel ## lint the crate with the kernel's flags
	@qemu/kernel clippy $(FLAVOUR)

.PHONY: clean
clean: ## remove build/, keep the cache of downloads
	@rm -rf build
