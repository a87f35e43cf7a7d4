//! Link arguments of a module that Node loads.

fn main() {
    napi_build::setup();
}
