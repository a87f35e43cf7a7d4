//! The driver over real sockets, with blocking peers on other threads.

mod support;

mod echo;
