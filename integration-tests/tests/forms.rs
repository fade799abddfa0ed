//! Uploads by HTML form are not served, and cost nothing: nobody's signature has been looked at yet.

use integration_tests::Store;
use integration_tests::wire::Wire;

/// The library below the gateway would gather a file of up to 5 GiB in memory, for anybody.
#[test]
fn a_form_is_refused_before_its_file_is_taken_in() {
    let store = Store::new();
    let server = store.start();
    server.client().make_bucket("forms");
    let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
    let head = "POST /forms HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n\
                Content-Length: 5000000000\r\n\r\n\
                --b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n\
                --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    wire.send(head.as_bytes()).unwrap();
    let answer = wire.answer("POST").unwrap().refused(501, "NotImplemented");
    assert!(answer.header("x-amz-request-id").is_some(), "it is on record");
    let records = server.records();
    assert_eq!(records.iter().filter(|r| r["operation"] == "PostObject" && r["status"] == 501).count(), 1);
}
