//! End-to-end tests: real programs under the built `leakline run`, real collectors, real kills.
//! One binary, because each links everything.

mod attaching;
mod bad_input;
mod bounded;
mod bridge;
mod bridge_cycles;
mod collecting;
mod comparing;
mod explained;
mod families;
mod invisible;
mod java_classes;
mod java_holders;
mod java_interface;
mod java_sites;
mod java_under_native;
mod junit_extension;
mod ledger_balances;
mod native_heap;
mod pytest_marker;
mod python_interface;
mod surviving;
mod watcher;
