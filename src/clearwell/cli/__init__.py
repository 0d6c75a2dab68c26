"""The command line: a skin over the application. Every command has --help with an example, and --json."""
