//! Heap dumps of a few objects: who holds what is known, whatever form they are written in, and damage is an error.

mod damage;
mod paths;
mod writer;
