//! Link settings of a Node-API addon.

fn main() {
    #[cfg(feature = "node")]
    {
        napi_build::setup();
        // Node unloads an addon when the last worker that loaded it ends; background threads may still run its code.
        if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
        }
    }
}
