//! MySQL: what MariaDB does, with other programs, and without the server's own tables.

use super::mariadb::Family;

/// MySQL.
pub static MYSQL: Family = Family {
    key: "mysql_databases",
    title: "MySQL",
    dump: ("mysql_dump_command", "mysqldump"),
    client: ("mysql_command", "mysql"),
    left_out: &["information_schema", "mysql", "performance_schema", "sys"],
    saves_users: false,
};
