//! The BorgBackup 1.4 command line: options, output, exit codes.
