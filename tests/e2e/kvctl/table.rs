//! The table that `kvctl list` draws on a terminal.

use tests::{Env, terminal::ALL};

use crate::kvctl::terminal::{STDERR, insert, on, on_columns};

tests::list! {
    Once =>
        a_table_fits_the_terminal,
        a_table_of_many_rows_fits_the_terminal,
        whatever_the_text_it_stays_in_its_row
}

/// The columns that a terminal gives to the characters used here.
fn width(text: &str) -> usize {
    let width = |c| match c {
        '\u{300}'..='\u{36f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{ff01}'..='\u{ff60}'
        | '\u{1f300}'..='\u{1faff}' => 2,
        _ => 1,
    };
    text.chars().map(width).sum()
}

/// The lines without what makes the first one bold.
#[track_caller]
fn table_lines(screen: &str, columns: usize) -> Vec<String> {
    let plain = screen.replace("\u{1b}[1m", "").replace("\u{1b}[0m", "");
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    let lines: Vec<_> = plain.lines().map(str::to_owned).collect();
    for line in &lines {
        assert!(width(line) <= columns, "wider than {columns}: {line}");
    }
    lines
}

// Long: it is one table of texts, and what must be true of each.
async fn a_table_fits_the_terminal(env: Env) {
    let long = [
        "v".repeat(500),
        "漢字".repeat(200),
        "a漢".repeat(200),
        "e\u{301}".repeat(300),
        "한글😀".repeat(100),
        "ＡＢ".repeat(100),
        "\t".repeat(300),
    ];
    let put = async |key: &str, value: &str| {
        let put = env.kvctl(["put", key, "-"]).stdin(value).await;
        let _put = put.expect(0);
    };
    put("a", "short").await;
    for (number, value) in long.iter().enumerate() {
        put(&format!("b{number}"), value).await;
    }
    put(&"鍵".repeat(150), &long[1]).await;
    for columns in [20, 40, 80, 200] {
        let seen = on_columns(&env, columns, ALL, &["list"]).await.expect(0);
        let lines = table_lines(&seen.screen, columns.into());
        assert_eq!(lines.len(), long.len() + 3, "{}", seen.screen);
        assert!(lines[0].starts_with("KEY ") && lines[0].contains("VALUE"));
        assert_eq!(lines[0].contains("UPDATED"), columns >= 80, "{}", lines[0]);
        assert!(lines[1].starts_with("a ") && lines[1].contains(" short"));
        assert!(!lines[1].contains('…'));
        for (number, line) in lines[2..].iter().enumerate() {
            assert!(line.contains('…'), "{columns}: {line}");
            // What is cut is cut no shorter than it must be; without the time the last cell may be a short version.
            let room = usize::from(columns);
            let least = if columns < 80 { room - 8 } else { room };
            assert!(width(line) >= least, "{columns}: {line}");
            let shown = line.split_whitespace().nth(1).unwrap_or_default();
            let Some(value) = long.get(number) else {
                continue;
            };
            let beginning = shown.trim_end_matches('…');
            let value = value.replace('\t', "\\t");
            assert!(value.starts_with(beginning), "{columns}: {line}");
            assert!(!beginning.is_empty(), "{columns}: {line}");
        }
    }
    let keys = on(&env, ALL, &["list", "--keys"]).await.expect(0);
    let lines = table_lines(&keys.screen, 80);
    assert!(!lines[0].contains("VALUE") && lines[0].contains("UPDATED"));
    let in_a_pipe = on(&env, STDERR, &["list"]).await.expect(0);
    assert!(in_a_pipe.stdout.contains(&long[0]), "cut in a pipe");
}

async fn a_table_of_many_rows_fits_the_terminal(env: Env) {
    // The widths are known before the last rows are.
    let row = |n| (format!("k{n:05}"), "v".to_owned());
    insert(&env, (0..2_000).map(row)).await;
    insert(&env, [("z".repeat(400), "漢".repeat(400))]).await;
    let update = "UPDATE items SET version = 9223372036854775807 WHERE id = 2000";
    assert_eq!(env.database().execute(update).await, 1);
    let seen = on(&env, ALL, &["list"]).await.expect(0);
    let lines = table_lines(&seen.screen, 80);
    assert_eq!(lines.len(), 2_002);
    assert!(lines[2_001].starts_with('z') && lines[2_001].contains('…'));
}

async fn whatever_the_text_it_stays_in_its_row(env: Env) {
    let texts = [
        "❤\u{fe0f}",
        "1\u{fe0f}\u{20e3}",
        "👩\u{200d}👩\u{200d}👧",
        "🇩🇪",
        "👍🏽",
        "\u{644}\u{627}",
        "\u{301}",
        "\u{200b}",
        "\u{202e}abc",
        "\u{2028}",
        "\u{ad}",
        "\u{1160}\u{1175}",
        "क\u{94d}ष",
        "\u{10ffff}",
    ];
    for text in texts {
        // Long enough to be cut, whatever its width.
        let _put = env
            .kvctl(["put", "k", "-"])
            .stdin(text.repeat(120))
            .await
            .expect(0);
        for columns in [40, 41, 80, 81] {
            let seen = on_columns(&env, columns, ALL, &["list"]).await;
            let name = text.escape_unicode();
            assert_eq!(seen.code, 0, "{name} on {columns} columns: {}", seen.screen);
            let lines: Vec<_> = seen.screen.split("\r\n").collect();
            assert_eq!(lines.len(), 3, "{name}: {}", seen.screen);
            assert!(lines[1].starts_with("k  "), "{name}: {}", seen.screen);
        }
    }
}
