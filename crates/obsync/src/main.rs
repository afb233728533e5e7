//! The command line. See `obsync --help`.

fn main() -> std::process::ExitCode {
    obsync::cli::main()
}
