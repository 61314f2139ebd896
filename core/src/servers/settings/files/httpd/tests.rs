use rstest::rstest;

use super::super::testing::{TestFiles, describe};
use super::*;

const FOLDER: TestFiles<'_> = TestFiles {
    files: &[
        ("/opt/conf/sites/site.conf", "<VirtualHost *:8443>\nKeepAliveTimeout 20\n</VirtualHost>"),
        ("/opt/conf/off.conf", "KeepAlive Off"),
    ],
    variables: &[("KEEP", "9")],
    of_image: true,
};

fn ask(text: &str, port: Option<u16>) -> String {
    let answer = read(&FOLDER, "/opt/conf/httpd.conf", text, Query { key: "KeepAliveTimeout", port });
    describe(answer, |Entry { value, path, line, text }| {
        format!("{value} at {}:{line}: {text}", path.rsplit('/').next().unwrap())
    })
}

#[rstest]
#[case::main("Listen 80\nKeepAliveTimeout 5", Some(80), "5 at httpd.conf:2: KeepAliveTimeout 5")]
#[case::later_wins("KeepAliveTimeout 5\nkeepalivetimeout 7", None, "7 at httpd.conf:2: keepalivetimeout 7")]
#[case::milliseconds("KeepAliveTimeout 500ms", None, "500ms at httpd.conf:1: KeepAliveTimeout 500ms")]
#[case::quotes("KeepAliveTimeout \"5\"", None, "5 at httpd.conf:1: KeepAliveTimeout \"5\"")]
#[case::continued("KeepAliveTimeout \\\n 5", None, "5 at httpd.conf:1: KeepAliveTimeout 5")]
#[case::comment("# KeepAliveTimeout 5", None, "absent")]
#[case::off("KeepAliveTimeout 5\nKeepAlive off", None, "each-response at httpd.conf:2: KeepAlive off")]
#[case::on("KeepAliveTimeout 5\nKeepAlive On", None, "5 at httpd.conf:1: KeepAliveTimeout 5")]
#[case::neither("KeepAlive maybe", None, "? /opt/conf/httpd.conf line 1: KeepAlive is neither On nor Off")]
#[case::no_value(
    "KeepAliveTimeout",
    None,
    "? /opt/conf/httpd.conf line 1: the value of KeepAliveTimeout is not a literal"
)]
#[case::of_the_host(
    "KeepAliveTimeout 5\n<VirtualHost *:8080>\nKeepAliveTimeout 30\n</VirtualHost>",
    Some(8080),
    "30 at httpd.conf:3: KeepAliveTimeout 30"
)]
#[case::inherited(
    "<VirtualHost *:8080>\n</VirtualHost>\nKeepAliveTimeout 5",
    Some(8080),
    "5 at httpd.conf:3: KeepAliveTimeout 5"
)]
#[case::of_another_host("<VirtualHost *:81>\nKeepAliveTimeout 3\n</VirtualHost>", Some(80), "absent")]
#[case::host_off(
    "<VirtualHost _default_:81>\nKeepAlive Off\n</VirtualHost>",
    Some(81),
    "each-response at httpd.conf:2: KeepAlive Off"
)]
#[case::host_on_again("KeepAlive Off\n<VirtualHost *:81>\nKeepAlive On\n</VirtualHost>", Some(81), "absent")]
#[case::any_port(
    "<VirtualHost *>\nKeepAliveTimeout 3\n</VirtualHost>",
    Some(81),
    "3 at httpd.conf:2: KeepAliveTimeout 3"
)]
#[case::port_before_any_port(
    "<VirtualHost *:*>\nKeepAliveTimeout 3\n</VirtualHost>\n<VirtualHost *:81>\n</VirtualHost>",
    Some(81),
    "absent"
)]
#[case::one_address(
    "<VirtualHost 10.0.0.1:81>\nKeepAliveTimeout 3\n</VirtualHost>",
    Some(81),
    "? the virtual hosts in /opt/conf/httpd.conf have different values of KeepAliveTimeout"
)]
#[case::hosts_differ(
    "<VirtualHost *:81>\nKeepAliveTimeout 3\n</VirtualHost>\n<VirtualHost *:81>\n</VirtualHost>",
    Some(81),
    "? the virtual hosts in /opt/conf/httpd.conf have different values of KeepAliveTimeout"
)]
#[case::no_such_port(
    "Listen 80\nListen [::]:81 http",
    Some(82),
    "? no Listen has port 82 in /opt/conf/httpd.conf"
)]
#[case::ports_of_variables(
    "Listen ${PORT}\nKeepAliveTimeout 3",
    Some(82),
    "3 at httpd.conf:2: KeepAliveTimeout 3"
)]
#[case::port_of_a_variable(
    "<VirtualHost *:${PORT}>\nKeepAliveTimeout 3\n</VirtualHost>",
    Some(82),
    "? the virtual hosts in /opt/conf/httpd.conf have different values of KeepAliveTimeout"
)]
#[case::include("Include conf/sites/*.conf", Some(8443), "20 at site.conf:2: KeepAliveTimeout 20")]
#[case::include_of_a_folder("Include conf/sites/", Some(8443), "20 at site.conf:2: KeepAliveTimeout 20")]
#[case::include_in_a_host(
    "<VirtualHost *:81>\nIncludeOptional /opt/conf/off.conf\n</VirtualHost>",
    Some(81),
    "each-response at off.conf:1: KeepAlive Off"
)]
#[case::server_root(
    "ServerRoot /srv\nInclude x.conf",
    None,
    "? /opt/conf/httpd.conf line 2: /srv/x.conf of the image may set it"
)]
#[case::unseen_include(
    "Include conf/x.conf",
    None,
    "? /opt/conf/httpd.conf line 1: /opt/conf/x.conf of the image may set it"
)]
#[case::harmless_include(
    "Include conf/extra/httpd-mpm.conf\nKeepAliveTimeout 4",
    None,
    "4 at httpd.conf:2: KeepAliveTimeout 4"
)]
#[case::pattern(
    "Include conf/*/x.conf",
    None,
    "? /opt/conf/httpd.conf line 1: the pattern of the included files is not a literal"
)]
#[case::loaded(
    "LoadModule ssl_module modules/mod_ssl.so\n<IfModule mod_ssl.c>\nKeepAliveTimeout 4\n</IfModule>",
    None,
    "4 at httpd.conf:3: KeepAliveTimeout 4"
)]
#[case::not_loaded(
    "LoadModule ssl_module modules/mod_ssl.so\n<IfModule !ssl_module>\nKeepAliveTimeout 4\n<IfDefine X>\n</IfDefine>\n</IfModule>",
    None,
    "absent"
)]
#[case::perhaps_loaded(
    "<IfModule mod_x.c>\nKeepAliveTimeout 4\n</IfModule>",
    None,
    "? /opt/conf/httpd.conf line 2: KeepAliveTimeout is inside <IfModule mod_x.c>, which may not apply"
)]
#[case::condition_without_effect(
    "KeepAliveTimeout 4\n<IfModule mod_x.c>\nKeepAliveTimeout 4\n</IfModule>",
    None,
    "4 at httpd.conf:1: KeepAliveTimeout 4"
)]
#[case::overwritten_condition(
    "<IfDefine X>\nKeepAliveTimeout 5\n</IfDefine>\nKeepAliveTimeout 4",
    None,
    "4 at httpd.conf:4: KeepAliveTimeout 4"
)]
#[case::condition_of_another_port(
    "<IfModule mod_x.c>\n<VirtualHost *:81>\nKeepAliveTimeout 4\n</VirtualHost>\n</IfModule>",
    Some(80),
    "absent"
)]
#[case::conditional_host_beside_another(
    "<VirtualHost *:*>\nKeepAliveTimeout 3\n</VirtualHost>\n<IfModule x>\n<VirtualHost *:81>\n</VirtualHost>\n</IfModule>",
    Some(81),
    "? the virtual hosts in /opt/conf/httpd.conf have different values of KeepAliveTimeout"
)]
#[case::include_in_a_condition(
    "<IfVersion >= 2.4>\nInclude conf/off.conf\n</IfVersion>",
    None,
    "? /opt/conf/off.conf line 1: KeepAlive is inside <IfVersion >= 2.4>, which may not apply"
)]
#[case::defined(
    "Define FAST 3\n<IfDefine FAST>\nKeepAliveTimeout ${FAST}\n</IfDefine>",
    None,
    "3 at httpd.conf:3: KeepAliveTimeout ${FAST}"
)]
#[case::variable("KeepAliveTimeout ${KEEP}", None, "9 at httpd.conf:1: KeepAliveTimeout ${KEEP}")]
#[case::other_variable(
    "KeepAliveTimeout ${X}",
    None,
    "? /opt/conf/httpd.conf line 1: the value of the variable X is not known"
)]
#[case::in_a_macro(
    "<Macro M $x>\nKeepAliveTimeout $x\n</Macro>",
    None,
    "? /opt/conf/httpd.conf line 2: a macro sets KeepAliveTimeout"
)]
#[case::in_a_folder(
    "<Directory />\nKeepAlive Off\n</Directory>",
    None,
    "? /opt/conf/httpd.conf line 2: KeepAlive is not allowed here"
)]
#[case::old_browsers("BrowserMatch \"Mozilla/2\" nokeepalive", None, "absent")]
#[case::no_keep_alive(
    "SetEnv nokeepalive 1",
    None,
    "? /opt/conf/httpd.conf line 1: keep-alive is disabled for some requests (nokeepalive)"
)]
#[case::open("<VirtualHost *:80>", None, "? /opt/conf/httpd.conf: <VirtualHost> is not closed")]
#[case::closed("</VirtualHost>", None, "? /opt/conf/httpd.conf line 1: a section is closed that is not open")]
#[case::template("<IfModule", None, "? /opt/conf/httpd.conf line 1: a section has no >")]
fn values(#[case] text: &str, #[case] port: Option<u16>, #[case] expected: &str) {
    assert_eq!(ask(text, port), expected);
}

#[test]
fn growing_variables_end_soon() {
    let text = "Define A aaaaaaaa\n".to_owned() + &"Define A ${A}${A}\n".repeat(10_000);
    assert_eq!(ask(&text, None), "absent");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_soon(text in "([a-z<>\"'${}\\\\ \n]|KeepAlive|Include |Define |</?VirtualHost|</?IfModule ){0,400}") {
        let started = std::time::Instant::now();
        ask(&text, Some(80));
        proptest::prop_assert!(started.elapsed().as_millis() < 500);
    }
}
