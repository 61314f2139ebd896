# What a person and CI both run.

# Lists the recipes.
default:
    @just --list

# Formats the code.
fmt:
    cargo fmt

# Checks formatting, and lints all targets.
lint:
    cargo fmt --check
    cargo clippy --all-targets --locked -- -D warnings

# Runs all tests.
test:
    cargo test --locked

# The tests of load and abuse for long: a million reviews, and thousands of idle connections.
soak:
    ulimit -n 20000 && SOAK_REVIEWS=1000000 SOAK_CONNECTIONS=10000 cargo test --release --features jemalloc --locked --test process -- --nocapture

# Starts real servers from package registries, and compares the catalog and `measure` with them; ten minutes at most.
servers:
    SERVERS=all cargo test --locked --test servers

# Runs a cluster with a node and an installation, and prints its kubeconfig; Enter ends it. Needs root.
cluster:
    cargo test --locked --test node -- --ignored --nocapture run_for_a_person

# Writes the generated documents, manifests and snapshots anew: look at what changed before you commit it.
update:
    UPDATE_DOCS=1 INSTA_UPDATE=always cargo test --locked

# Builds the documentation of the library.
doc:
    RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --locked

# Builds the pages of docs/ as a site in target/book. Needs mdBook (cargo install mdbook --locked) and Python.
book:
    mdbook build

# Checks licences, advisories, bans and duplicates.
deny:
    cargo deny --locked check

# Measures how long a review takes, and how that grows with the catalog.
bench:
    cargo bench --locked --bench review

# Compares the webhook with others under load, and `lint` with kube-score; see benches/load/README.md. Needs Go.
bench-load *ARGS:
    cargo run --release --locked --manifest-path benches/load/Cargo.toml -- compare {{ARGS}}

# Counts the instructions of recorded reviews with valgrind; fails on 5 % more than benches/instructions.json says.
instructions:
    cargo run --release --locked --manifest-path benches/instructions/Cargo.toml -- check

# Writes benches/instructions.json anew.
instructions-update:
    cargo run --release --locked --manifest-path benches/instructions/Cargo.toml -- update

# Builds the container image.
image:
    docker build -t linkerd-linger .

# Builds the Dockerfile on bases made here, and runs what comes out; needs root and buildah.
test-image:
    .ci/image

# All checks.
ci:
    .ci/run
