// The linter of the pages' scripts: ESLint's own rules, and those of typescript-eslint that know the types.
// Run from the project's root: `eslint --config .ci/js/eslint.config.js`.

import js from "@eslint/js";
import globals from "globals";
import { config, configs } from "typescript-eslint";

export default config(
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  js.configs.recommended,
  ...configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: { project: ["tsconfig.json", "tsconfig.tests.json"], tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      complexity: ["error", 10], // `?.`, `??` and default values count, too
      eqeqeq: ["error", "always", { null: "ignore" }], // `== null` is "null or undefined"
      "no-restricted-properties": [
        "error",
        { object: "Object", property: "assign", message: "Declare class fields, or set the properties by name." },
      ],
      "no-restricted-syntax": [
        "error",
        {
          selector:
            "AssignmentExpression[left.property.name=/^(inner|outer)HTML$/], CallExpression[callee.property.name='insertAdjacentHTML']",
          message: "Text of users is never markup: set textContent, or append elements.",
        },
      ],
      // tsc finds unused private members; this rule takes `#frame ||= …` for an unused one.
      "no-unused-private-class-members": "off",
      // These three do not see the casts of JSDoc, the only way from `any` (JSON) to a type.
      "@typescript-eslint/no-unsafe-argument": "off",
      "@typescript-eslint/no-unsafe-assignment": "off",
      "@typescript-eslint/no-unsafe-return": "off",
      // Numbers in a template are what templates are for.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: false }],
      // `void promise` marks a promise whose errors are handled where it is made.
      "@typescript-eslint/no-floating-promises": ["error", { ignoreVoid: true }],
      // An arrow function that only calls something may answer nothing.
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
    },
  },
  { files: ["taskhub/static/**/*.js", "sandboxes/static/**/*.js"], languageOptions: { globals: globals.browser } },
  {
    files: ["tests/js/*.js"],
    languageOptions: { globals: globals.node },
    rules: {
      // The runner waits for its tests by itself.
      "@typescript-eslint/no-floating-promises": [
        "error",
        { allowForKnownSafeCalls: [{ from: "package", name: "test", package: "node:test" }] },
      ],
      "@typescript-eslint/no-unsafe-member-access": "off", // a test looks into what it made
    },
  },
);
