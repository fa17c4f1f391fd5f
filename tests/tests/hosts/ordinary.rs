//! Programs that every system has, at their ordinary work.

use std::fmt::Write as _;

use leakline_tests::Twice;

use crate::{check, is_installed};

fn shell(script: &str, said: &str) {
    for shell in ["dash", "bash"] {
        if is_installed(shell) {
            check(Twice::new([shell, "-c", script]).unrecorded(), 0, said);
        }
    }
}

#[test]
fn shells() {
    shell("for i in 1 2 3 4 5 6 7 8 9; do x=$(echo $i | sed s/./x/); done; echo $x", "x");
    shell(
        "(exit 3) || echo failed; { echo a; echo b; } | sort -r | tr -d '\\n'; f() { cat; }; f <<X\nhere\nX\n",
        "failed",
    );
    shell("trap 'echo bye' EXIT; trap 'echo usr' USR1; kill -USR1 $$; echo on", "bye");
    shell("sleep 0.3 & wait; i=0; while [ $i -lt 60 ]; do /bin/true; i=$((i+1)); done; echo $i", "60");
    shell("ulimit -n 20; exec 3>a 4>b 5>c; echo x >&5; cat c", "x");
}

#[test]
fn sort_and_gzip() {
    let mut numbers = String::new();
    for i in 0..60_000_u64 {
        let _ = writeln!(numbers, "{}", i.wrapping_mul(6_364_136_223_846_793_005) >> 20);
    }
    check(Twice::new(["sort", "-n"]).stdin(numbers.clone()).unrecorded(), 0, "0\n");
    check(Twice::new(["sort", "--parallel=4", "-S", "1M"]).stdin(numbers.clone()).unrecorded(), 0, "0\n");
    check(Twice::new(["gzip", "-cn9"]).stdin(numbers).unrecorded(), 0, "");
}

#[test]
fn sqlite() {
    if !is_installed("sqlite3") {
        return;
    }
    let script = "create table t(a, b); with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) \
                  insert into t select i, hex(i * 7919) from n; create index b on t(b); \
                  select count(*), sum(length(b)) from t where b > '3'; select sqlite_version() > '3';\n";
    check(Twice::new(["sqlite3", "own.db"]).stdin(script).unrecorded(), 0, "1\n");
}

#[test]
fn find_xargs_tar_and_make() {
    let prepare = "mkdir -p a/b; for i in 1 2 3 4 5 6; do echo $i > a/b/$i; done; ";
    shell(&format!("{prepare} find a -type f | sort | xargs -P3 -n1 wc -c | sort | tail -n1"), "a/b/6");
    if is_installed("tar") {
        shell(&format!("{prepare} tar --mtime=@0 --sort=name -cf - a | tar -tf - | wc -l"), "8");
    }
    if is_installed("make") {
        let makefile =
            "all: 1.o 2.o 3.o 4.o 5.o 6.o\\n\\t@cat $^ | wc -c\\n%%.o:\\n\\t@sleep 0.1; echo $@ > $@\\n";
        shell(&format!("printf '{makefile}' > Makefile; make -s -j4 all"), "24");
    }
}
