//! End-to-end tests: the built program against real daemons, and against scripted ones
//! for what real ones never do. `tests/run` installs all that they need.

#[cfg(feature = "containerd")]
mod arch_mismatch;
mod architecture;
mod auth;
mod bad_input;
mod bed;
#[cfg(feature = "containerd")]
mod chaos;
mod cli;
mod config;
#[cfg(feature = "containerd")]
mod containerd_pull;
#[cfg(feature = "containerd")]
mod containerd_store;
#[cfg(feature = "containerd")]
mod containerd_unpack;
#[cfg(feature = "containerd")]
mod cri;
#[cfg(feature = "containerd")]
mod crowd;
#[cfg(feature = "containerd")]
mod daemon;
mod demo;
mod diagnose;
#[cfg(feature = "containerd")]
mod endurance;
mod faults;
mod findings;
mod forgery;
mod hanging;
#[cfg(feature = "containerd")]
mod health;
mod hosts;
mod inspect;
mod interrupt;
mod logs;
mod manifest;
#[cfg(feature = "containerd")]
mod metrics;
#[cfg(feature = "containerd")]
mod mirror;
#[cfg(feature = "containerd")]
mod neighbours;
mod node;
#[cfg(feature = "containerd")]
mod overload;
#[cfg(feature = "containerd")]
mod plugins;
#[cfg(feature = "containerd")]
mod powerloss;
#[cfg(feature = "containerd")]
mod proxies;
mod pull_layout;
#[cfg(feature = "containerd")]
mod pulls;
mod resolve;
mod rootfs;
mod security;
mod skopeo;
mod support;
mod tls;
mod transfer;
#[cfg(feature = "containerd")]
mod unpack_likeness;
#[cfg(feature = "containerd")]
mod upgrades;
