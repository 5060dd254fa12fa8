//! Limits as they are in force, written down for who looks at a database from outside (docs/schema.md, "Settings of limiters").

use super::operation::{BoundStatement, Operation};
use super::options::{AdaptiveConfig, RateLimitConfig, SharedLimits};
use super::statements::Statement;
use super::value::Millis;

/// After how long they are written down again if they differ from what is there: another process may have others.
pub const TELL_EVERY_MS: Millis = 60_000.0;

/// After how long they are written down again even if they do not, to show that the resource is in use.
const RENEW_AFTER_MS: Millis = 86_400_000.0;

/// After how long nobody uses a resource any more.
const FORGET_AFTER_MS: Millis = 7.0 * RENEW_AFTER_MS;

/// What limits a resource.
pub struct Settings {
    pub limit: RateLimitConfig,
    pub shared: SharedLimits,
    /// How an adaptive limiter divides the limit.
    pub adaptive: Option<AdaptiveConfig>,
}

impl Settings {
    /// The kind of limiter, as it is stored.
    fn kind(&self) -> &'static str {
        if self.adaptive.is_some() { "adaptive" } else { "rate-limit" }
    }

    /// The JSON text, under the names of the options. A limit that is infinite is `1e999`, which `JSON.parse` reads so.
    pub fn text(&self) -> String {
        let Settings { limit, shared, adaptive } = self;
        let mut members = window(*limit);
        if shared.config != RateLimitConfig::NONE {
            members.push(("sharedConfig", object(&window(shared.config))));
        }
        members.push(("honourCooldowns", shared.honours_cooldowns.to_string()));
        if let Some(config) = adaptive {
            let pauses = config.background_pause_on_increasing_trend.to_string();
            let config = [
                ("monitoringWindowMs", number(config.monitoring_window_ms)),
                ("highActivityThreshold", number(config.high_activity_threshold)),
                ("moderateActivityThreshold", number(config.moderate_activity_threshold)),
                ("recalculationIntervalMs", number(config.recalculation_interval_ms)),
                ("sustainedInactivityThresholdMs", number(config.sustained_inactivity_threshold_ms)),
                ("backgroundPauseOnIncreasingTrend", pauses),
                ("maxUserScaling", number(config.max_user_scaling)),
                ("minUserReserved", number(config.min_user_reserved)),
            ];
            members.push(("adaptiveConfig", object(&config)));
        }
        object(&members)
    }
}

fn window(RateLimitConfig { limit, window_ms, min_interval_ms }: RateLimitConfig) -> Vec<(&'static str, String)> {
    vec![("limit", number(limit)), ("windowMs", number(window_ms)), ("minIntervalMs", number(min_interval_ms))]
}

fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// As JavaScript writes it.
fn number(number: f64) -> String {
    if number.is_finite() { ryu_js::Buffer::new().format(number).to_owned() } else { "1e999".to_owned() }
}

/// Writes down what limits a resource, where that differs from what is there.
pub fn tell(resource: &str, settings: &Settings, version: &str, now: Millis) -> Operation {
    let values = [
        settings.kind().into(),
        resource.into(),
        settings.text().into(),
        version.into(),
        now.into(),
        (now - RENEW_AFTER_MS).into(),
    ];
    Operation::command([BoundStatement::new(Statement::SettingsTell, values)])
}

/// The statement that forgets some of the resources that nobody has used for long.
pub fn forget_unused(now: Millis) -> BoundStatement {
    BoundStatement::new(Statement::SettingsForget, [(now - FORGET_AFTER_MS).into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_javascript() {
        let limit = RateLimitConfig { limit: f64::INFINITY, window_ms: 1_000.5, min_interval_ms: 0.0 };
        let plain = Settings { limit, shared: SharedLimits::NONE, adaptive: None };
        let expected = r#"{"limit":1e999,"windowMs":1000.5,"minIntervalMs":0,"honourCooldowns":false}"#;
        assert_eq!(plain.text(), expected);
        let shared = SharedLimits { config: RateLimitConfig::new(5.0, 60_000.0), ..SharedLimits::NONE };
        let all = Settings { shared, adaptive: Some(AdaptiveConfig::default()), ..plain };
        let text = all.text().replace("1e999", "9");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        assert_eq!(read["sharedConfig"]["windowMs"], 60_000);
        assert_eq!(read["adaptiveConfig"]["maxUserScaling"], 2);
        assert_eq!(read["adaptiveConfig"].as_object().map(serde_json::Map::len), Some(8));
    }
}
