use rstest::rstest;
use serde_json::json;

use super::{CART, told};
use crate::servers::Catalog;

/// What the catalog's own entries do not use yet: `mill` has a setting of each remaining kind.
#[rstest]
#[case::optional_value_absent("mill", "mill each response")]
#[case::optional_value_bare("mill --keep", "mill 60s")]
#[case::optional_value_glued("mill --keep=8", "mill 8s")]
#[case::optional_value_takes_no_word("mill --keep 8", "mill 60s")]
#[case::fallback("mill --keep --timeout 9", "mill 9s")]
#[case::first_wins("mill --keep --limit 3 --limit 4", "mill 3s")]
#[case::default_again("mill --keep --reset off --timeout 9", "mill 60s")]
#[case::single_dash("mill --keep -old 7", "mill 7s")]
#[case::special_duration("mill --keep --timeout max", "mill 3600s")]
#[case::after_the_dashes("mill --keep -- --timeout 9", "mill 60s")]
#[case::directive("mill --keep -p other=1 -p idle=7", "mill 7s")]
#[case::property_of_a_start_script("mill --keep -Dmill.idle=7s", "mill 7s")]
#[case::script_and_argument("python manage.py grind --keep", "mill 60s")]
#[case::behind_an_option("wheel --app x turn --keep", "mill 60s")]
#[case::not_the_first_argument("wheel x turn", "- unknown: wheel is not a server in the catalog")]
#[case::php_script("php artisan grind --keep", "mill 60s")]
#[case::php_itself("php -S 0.0.0.0:80", "mill each response")]
#[case::main_class("java -cp a.jar org.mill.Main --keep", "mill 60s")]
fn kinds_of_settings(#[case] line: &str, #[case] said: &str) {
    let catalog = Catalog::parse(MILL).unwrap();
    let container = json!({"image": CART, "command": shlex::split(line).unwrap()});
    assert_eq!(told(&catalog, &container).0, said);
}

const MILL: &str = "
- id: mill
  name: Mill
  reliable:
    commands: [mill, manage.py grind, wheel turn, artisan grind, php -S]
    classes: [org.mill.*]
  mode:
    start: close
    steps:
      - choices: [{flag: [--keep], bare: '1', values: {'0': close}, otherwise: keep}]
  settings:
    - {flag: [--keep], bare: '1', modes: [keep], format: seconds, special: {'1': unset}}
    - {flag: [--reset], format: word, special: {'off': default}}
    - {flag: [--limit], first_wins: true, format: float-seconds}
    - {flag: [-old], format: seconds}
    - {flag: [-p], directive: idle, format: seconds}
    - {property: [mill.idle], format: go-duration}
    - {flag: [--timeout], format: seconds, special: {max: 1h}}
  idle:
    - {closes: each-response, modes: [close], obeys: nothing, certain: it has no other setting, source: mill.c}
    - {closes: 60s, modes: [keep], certain: it has no other setting, source: mill.c}
";
