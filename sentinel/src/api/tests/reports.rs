//! Reports over HTTP.

use super::*;

#[tokio::test]
async fn a_report_is_answered_as_the_document_that_was_asked_for() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let mut mint = Mint::Counted(0);
    let mut recent = alert(&mut mint, now());
    recent.summary = "<script>".into();
    house.keep(vec![Record::Alert(Arc::new(recent))]).await;
    for (format, media, begins) in [
        ("json", "application/json", "{"),
        ("html", "text/html; charset=utf-8", "<!doctype html>"),
        ("pdf", "application/pdf", "%PDF-"),
    ] {
        let request = send("POST", "/reports", &json!({ "since": "2h", "format": format }));
        let (status, headers, body) = answer(&router, request).await;
        assert_eq!(
            (status.as_u16(), &headers["content-type"]),
            (200, &HeaderValue::from_static(media))
        );
        let name = headers["content-disposition"].to_str().unwrap();
        assert!(
            name.starts_with("attachment; filename=\"sentinel-report-20") && name.contains(format),
            "{name}"
        );
        assert_eq!(headers["cache-control"], "no-store");
        assert!(body.starts_with(begins.as_bytes()), "{format}");
        if format == "json" {
            let told: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&told["version"], &told["mode"]), (&1.into(), &"simulation".into()));
            assert_eq!(told["alerts"]["sources"][0]["ip"], "203.0.113.7");
        }
    }
}

#[tokio::test]
async fn reports_made_by_themselves_are_listed_and_answered_and_no_other_file_is() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let (status, told) = ask(&router, get("/reports")).await;
    assert_eq!((status, &told), (200, &json!({ "items": [], "total": 0 })));
    let reports = house.directory.path().join("reports");
    std::fs::create_dir(&reports).unwrap();
    for (name, text) in [
        ("sentinel-weekly-2026-11-23.pdf", "%PDF-"),
        ("sentinel-daily-2026-11-28.html", "<!doctype html>"),
        ("notes.txt", "mine"),
    ] {
        std::fs::write(reports.join(name), text).unwrap();
    }
    std::fs::write(house.directory.path().join("secret"), "secret").unwrap();
    let (_, told) = ask(&router, get("/reports")).await;
    let items = told["items"].as_array().unwrap();
    assert_eq!((items.len(), &told["total"]), (2, &2.into()));
    assert_eq!(
        (
            &items[0]["name"],
            &items[0]["format"],
            &items[0]["bytes"],
            &items[0]["day"]
        ),
        (
            &"sentinel-daily-2026-11-28.html".into(),
            &"html".into(),
            &15.into(),
            &"2026-11-28".into()
        )
    );
    let (status, headers, body) = answer(&router, get("/reports/sentinel-weekly-2026-11-23.pdf")).await;
    assert_eq!((status.as_u16(), body.as_slice()), (200, b"%PDF-".as_slice()));
    assert_eq!(headers["content-type"], "application/pdf");
    assert_eq!(
        headers["content-disposition"],
        "attachment; filename=\"sentinel-weekly-2026-11-23.pdf\""
    );
    for strange in [
        "notes.txt",
        "..%2Fsecret",
        "%2E%2E%2Fsecret",
        "..%2Freports%2Fsentinel-weekly-2026-11-23.pdf",
        "sentinel-weekly-2026-11-23.pdf%00",
        "sentinel-weekly-2020-01-01.pdf",
        "%2Fetc%2Fpasswd",
    ] {
        let (status, _, body) = answer(&router, get(&format!("/reports/{strange}"))).await;
        assert_eq!(status.as_u16(), 404, "{strange}");
        assert!(!String::from_utf8_lossy(&body).contains("secret"), "{strange}");
    }
}

#[tokio::test]
async fn what_is_no_period_or_no_format_is_refused_and_a_second_one_waits() {
    let house = House::new();
    let api = Api::new(house.state.clone(), house.cancel.clone());
    let router = router::router(Arc::clone(&api), Door::Unix);
    for (body, words) in [
        (json!({ "since": "30d", "format": "docx" }), "`format` must be"),
        (json!({ "since": "tomorrow", "format": "pdf" }), "`since` must be"),
        (
            json!({ "since": "2999-01-01T00:00:00Z", "format": "pdf" }),
            "in the future",
        ),
        (
            json!({ "since": "1970-01-01T00:00:00Z", "format": "pdf" }),
            "longer than",
        ),
        (json!({ "since": "30d" }), "format"),
        (json!({ "since": "30d", "format": "pdf", "to": "x" }), "unknown field"),
    ] {
        let (status, _, answer) = answer(&router, send("POST", "/reports", &body)).await;
        let problem: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(status.as_u16(), 422, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
    }
    let _turn = api.reports.try_acquire().unwrap();
    let request = send("POST", "/reports", &json!({ "since": "1h", "format": "json" }));
    let (status, headers, _) = answer(&router, request).await;
    assert_eq!(
        (status.as_u16(), &headers["retry-after"]),
        (429, &HeaderValue::from_static("5"))
    );
}
