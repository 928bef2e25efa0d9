//! Which lines `kvctl import` takes, and how it names the others.

use std::{fs, iter};

use serde_json::{Value, json};
use tests::{
    Engine, Env, item,
    pace::{PATIENCE, timeout},
};

use crate::kvctl::{
    import::{ERROR, OVERWRITE, SKIP, count, get, import, lines, numbered, said},
    said::assert_failed,
};

tests::list! {
    EveryEngine =>
        a_bad_line_after_many_good_ones_leaves_nothing,
        keys_and_values_arrive_byte_for_byte;
    FaultsOnly(Engine::Mysql) => large_values_need_no_temporary_space_of_the_server;
    Once =>
        every_kind_of_bad_line_is_named_by_its_number,
        what_an_export_tells_besides_is_left_unread,
        ends_of_lines_empty_lines_and_a_mark_do_not_matter,
        a_file_is_as_good_as_standard_input,
        a_line_that_never_ends_is_refused_before_it_is_read,
        max_value_bytes_is_the_bound_of_a_value
}

async fn a_bad_line_after_many_good_ones_leaves_nothing(env: Env) {
    for flags in [ERROR, SKIP, OVERWRITE] {
        let text = numbered(0..20_000, "good") + "{\"key\":\"bad\",\"value\":1}";
        assert_failed(import(&env, flags, text).await, 2, "line 20001: ");
        assert_eq!(count(&env).await, 0);
    }
}

/// MySQL has no bound to set for a session.
async fn large_values_need_no_temporary_space_of_the_server(env: Env) {
    let set = "/*M! SET GLOBAL tmp_disk_table_size = 8388608 */ /*!80000 DO 0 */";
    env.server().administrate(set).await.expect("a bound");
    let value = "v".repeat(100_000);
    let text = numbered(0..400, &value);
    for (flags, told) in [(SKIP, said(400, 0, 0)), (OVERWRITE, said(0, 400, 0))] {
        let imported = import(&env, flags, text.as_str()).await.expect(0);
        assert_eq!(imported.text(), told);
    }
    let text = numbered(200..600, &value);
    let skipped = import(&env, SKIP, text).await.expect(0);
    assert_eq!(skipped.text(), said(200, 0, 200));
    assert_eq!(get(&env, "k00599").await, value);
}

async fn keys_and_values_arrive_byte_for_byte(env: Env) {
    let large = "é\\\"\n".repeat(52_428) + "1234";
    assert_eq!(large.len(), 262_144);
    let values = [
        "",
        " ",
        "\n",
        "\t",
        "\r\n",
        "\\",
        "\\.",
        "\\N",
        "\\x41",
        "\\\\t",
        "NULL",
        "a\tb\nc\rd\\",
        "\"q\" 'q' `q`",
        "''; --",
        "%s ? ?1 $1 :x {}",
        "{\"key\":\"x\"}",
        "😀\u{1}\u{7f}\u{85}\u{2028}\u{fffd}\u{10ffff}",
        &large,
    ];
    let keys: Vec<String> = (0..values.len())
        .map(|n| format!("{n} \\N\\\"'`%😀\u{85}/"))
        .collect();
    let text = lines(keys.iter().zip(values));
    let imported = import(&env, ERROR, text).await.expect(0);
    assert_eq!(imported.text(), said(values.len() as u64, 0, 0));
    let kvd = env.start().await;
    for (key, value) in keys.iter().zip(values) {
        assert!(get(&env, key).await == value, "{key}");
        let read = kvd.get(&item(key)).await.expect(200);
        assert!(
            read.member("value") == value && read.member("key") == *key,
            "{key}"
        );
    }
}

// Long: it is one table of cases.
async fn every_kind_of_bad_line_is_named_by_its_number(env: Env) {
    let line = |key: &str, value: &str| lines([(key, value)]).trim_end().as_bytes().to_vec();
    let text = [
        "x",
        "{",
        "}",
        "{}",
        "null",
        "\"k\"",
        "[]",
        r#"["k","v"]"#,
        r#"[{"key":"k","value":"v"}]"#,
        r#"{"key":"k"}"#,
        r#"{"value":"v"}"#,
        r#"{"key":"k","value":"v","vaule":"v"}"#,
        r#"{"key":"k","value":"v","id":1}"#,
        r#"{"Key":"k","value":"v"}"#,
        r#"{"key":"k","value":"v","value":"v"}"#,
        r#"{"key":"k","value":"v","version":1,"version":1}"#,
        r#"{"key":"k","value":1}"#,
        r#"{"key":"k","value":null}"#,
        r#"{"key":"k","value":["v"]}"#,
        r#"{"key":["k"],"value":"v"}"#,
        r#"{"key":null,"value":"v"}"#,
        r#"{"key":"k","value":"v"},"#,
        r#"{"key":"k","value":"v"}{"key":"l","value":"v"}"#,
        r#"{"key":"k","value":"v",}"#,
        r#"{"key":"k","value":"v"#,
        r#"{'key':'k','value':'v'}"#,
        r#"{"key":"","value":"v"}"#,
        r#"{"key":".","value":"v"}"#,
        r#"{"key":"..","value":"v"}"#,
        r#"{"key":"a\nb","value":"v"}"#,
        r#"{"key":"\u0000","value":"v"}"#,
        r#"{"key":"\u007f","value":"v"}"#,
        r#"{"key":"k","value":"\u0000"}"#,
        r#"{"key":"k","value":"\ud800"}"#,
        r#"{"key":"k","value":"\x"}"#,
        "{\"key\":\"k\",\"value\":\"a\tb\"}",
        "\u{feff}{\"key\":\"k\",\"value\":\"v\"}",
    ];
    let mut bad: Vec<Vec<u8>> = text.map(|line| line.as_bytes().to_vec()).to_vec();
    bad.push(line(&"k".repeat(513), "v"));
    bad.push(line("k", &"v".repeat(262_145)));
    bad.push(line("k", &"é".repeat(131_073)));
    bad.push(b"{\"key\":\"k\",\"value\":\"\xff\"}".to_vec());
    bad.push(b"{\"key\":\"\xc3\",\"value\":\"v\"}".to_vec());
    bad.push(b"\xff\xfe{\0".to_vec());
    bad.push(b"\0".to_vec());
    for bad in bad {
        let shown = String::from_utf8_lossy(&bad[..bad.len().min(60)]).into_owned();
        let mut text = lines([("a", "1")]).into_bytes();
        text.extend(b"\r\n\n");
        text.extend(bad);
        text.extend(b"\n{also bad\n");
        let refused = import(&env, SKIP, text).await;
        assert!(
            refused.stderr.contains("line 4: "),
            "{shown}: {}",
            refused.stderr
        );
        assert!(refused.stderr.len() < 400, "{shown}: {}", refused.stderr);
        assert_failed(refused, 2, "nothing was written");
    }
    assert_eq!(count(&env).await, 0);
}

async fn what_an_export_tells_besides_is_left_unread(env: Env) {
    let text = r#"{"updated_at":"never","version":-7.5e300,"value":"v","etag":{"a":[1]},"created_at":null,"key":"k"}"#;
    assert_eq!(
        import(&env, ERROR, text).await.expect(0).text(),
        said(1, 0, 0)
    );
    let item = env.kvctl(["get", "k", "-o", "json"]).await.expect(0);
    let item: Value = serde_json::from_str(item.text()).expect("JSON");
    assert_eq!((&item["version"], &item["value"]), (&json!(1), &json!("v")));
}

async fn ends_of_lines_empty_lines_and_a_mark_do_not_matter(env: Env) {
    let line = r#"{"key":"k","value":"v\r\n "}"#;
    for text in [
        format!("{line}\n"),
        line.to_owned(),
        format!("{line}\r\n"),
        format!("\u{feff}{line}\r\n"),
        format!("\u{feff}\n{line}"),
        format!("\n\r\n \t \n  {line}  \n\n"),
        "{ \"key\" : \"\\u006b\" , \"value\" :\t\"v\\u000d\\u000a\\u0020\" }".to_owned(),
    ] {
        let imported = import(&env, ERROR, text.as_str()).await.expect(0);
        assert_eq!(imported.text(), said(1, 0, 0), "{text:?}");
        assert_eq!(get(&env, "k").await, "v\r\n ");
        let _gone = env.kvctl(["delete", "k"]).await.expect(0);
    }
    for nothing in ["", "\n", "\r\n\r\n", "\u{feff}", " "] {
        let imported = import(&env, ERROR, nothing).await.expect(0);
        assert_eq!(imported.text(), said(0, 0, 0), "{nothing:?}");
    }
}

async fn a_file_is_as_good_as_standard_input(env: Env) {
    fs::write(env.directory().join("two words"), numbered(0..3, "v")).expect("a file");
    let file = env
        .kvctl(["import", "two words"])
        .stdin("not read")
        .await
        .expect(0);
    assert_eq!(file.text(), said(3, 0, 0));
    fs::write(env.directory().join("bad"), "\nx").expect("a file");
    let bad = env.kvctl(["import", "bad"]).await;
    assert!(bad.stderr.contains("line 2"), "{}", bad.stderr);
    assert_failed(bad, 2, "bad");
    assert_failed(env.kvctl(["import", "missing"]).await, 2, "missing");
    assert_failed(env.kvctl(["import", "."]).await, 2, ".");
    assert_eq!(count(&env).await, 3);
}

async fn a_line_that_never_ends_is_refused_before_it_is_read(env: Env) {
    for start in ["", "{\"key\":\"k\",\"value\":\"", "\n  "] {
        let mut import = env.kvctl(["import", "-"]).spawn();
        import.send(start.as_bytes()).await;
        let filler = if start == "\n  " { b' ' } else { b'x' };
        let block = vec![filler; 1 << 20];
        // It goes away long before this is sent; and it does not wait for the rest.
        let fed = async {
            for _ in 0..50 {
                import.send(&block).await;
            }
        };
        timeout(PATIENCE, fed).await.expect("it reads, or is gone");
        let line = if start == "\n  " {
            "line 2: "
        } else {
            "line 1: "
        };
        assert_failed(import.ended().await, 2, line);
    }
}

async fn max_value_bytes_is_the_bound_of_a_value(env: Env) {
    let value = |bytes| lines([("k", "v".repeat(bytes))]);
    assert_failed(
        import(&env, &["--max-value-bytes", "10"], value(11)).await,
        2,
        "line 1: ",
    );
    let small = import(&env, &["--max-value-bytes", "10"], value(10)).await;
    assert_eq!(small.expect(0).text(), said(1, 0, 0));
    let words = ["--max-value-bytes", "400000", "--on-conflict", "overwrite"];
    let large = import(&env, &words, value(400_000)).await;
    assert_eq!(large.expect(0).text(), said(0, 1, 0));
    let by_variable = env.kvctl(["import", "-"]).env("MAX_VALUE_BYTES", "3");
    assert_failed(by_variable.stdin(value(4)).await, 2, "line 1: ");
    // As long as a line can be: escapes only.
    let escaped = "\\u00e9".repeat(131_072);
    let line = format!("{{\"key\":\"e\",\"value\":\"{escaped}\"}}");
    assert_eq!(
        import(&env, ERROR, line).await.expect(0).text(),
        said(1, 0, 0)
    );
    let escaped: String = iter::repeat_n("\\u0041", 262_144).collect();
    let line = format!("{{\"key\":\"f\",\"value\":\"{escaped}\"}}");
    assert_eq!(
        import(&env, ERROR, line).await.expect(0).text(),
        said(1, 0, 0)
    );
}
