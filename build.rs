//! Compiles `proto/` into Rust with protox, so that no `protoc` binary is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    // Bytes: payloads are slices of the received buffer, not copies.
    prost_build::Config::new()
        .bytes(["."])
        .compile_fds(protox::compile(["client.proto", "balancer.proto"], ["proto"])?)?;
    prost_build::Config::new()
        .bytes(["."])
        .extern_path(".fastchat.client.v1", "crate::wire::client")
        .compile_fds(protox::compile(["peer.proto"], ["proto"])?)?;
    Ok(())
}
