//! End-to-end tests: real programs under the built `leakline run`, real collectors, real kills.
//! One binary, because each links everything.

mod attaching;
mod bad_input;
mod collecting;
mod invisible;
mod java_interface;
mod java_under_native;
mod ledger_balances;
mod native_heap;
mod surviving;
