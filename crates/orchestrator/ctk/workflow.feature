Feature: Workflow In Workflow

  Scenario: Input And Output
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: parent
      version: '1.0.0'
    do:
      - ask:
          run:
            workflow:
              namespace: ctk
              name: child
              version: '1.0.0'
              input:
                name: ${ .who }
      - tell:
          set:
            told: ${ .greeting }
    """
    And another workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: child
      version: '1.0.0'
    do:
      - greet:
          set:
            greeting: ${ "hello " + .name }
    """
    And given the workflow input is:
    """yaml
    who: world
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    told: hello world
    """
    And greet should run before tell

  Scenario: No Such Workflow
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: parent
      version: '1.0.0'
    do:
      - ask:
          run:
            workflow:
              namespace: ctk
              name: child
              version: '1.0.0'
              input:
                name: ${ .who }
      - tell:
          set:
            told: ${ .greeting }
    """
    And given the workflow input is:
    """yaml
    who: world
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/dsl/errors/types/configuration
    instance: /do/0/ask
    """

  # Tests that it is caught outside
  Scenario: Error Of The Inner Workflow
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: parent
      version: '1.0.0'
    do:
      - attempt:
          try:
            - ask:
                run:
                  workflow:
                    namespace: ctk
                    name: child
                    version: '1.0.0'
                    input:
                      name: ${ .who }
            - tell:
                set:
                  told: ${ .greeting }
          catch:
            errors:
              with:
                status: 418
            do:
              - note:
                  set:
                    title: ${ $error.title }
    """
    And another workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: child
      version: '1.0.0'
    do:
      - refuse:
          raise:
            error:
              type: https://example.com/errors/teapot
              status: 418
              title: Teapot
    """
    And given the workflow input is:
    """yaml
    who: world
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    title: Teapot
    """

  # Tests that a run keeps the inner definition that it began with
  Scenario: The Definition That It Began With
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: parent
      version: '1.0.0'
    do:
      - ask:
          run:
            workflow:
              namespace: ctk
              name: child
              version: '1.0.0'
              input:
                name: ${ .who }
      - tell:
          set:
            told: ${ .greeting }
    """
    And another workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: child
      version: '1.0.0'
    do:
      - pause:
          wait: { milliseconds: 300 }
      - greet:
          set:
            greeting: ${ "hello " + .name }
    """
    And given the workflow input is:
    """yaml
    who: world
    """
    When the workflow is started
    And the run comes to pause
    And the other workflow is replaced by:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: child
      version: '1.0.0'
    do:
      - greet:
          set:
            greeting: something else
    """
    And the run is interrupted and resumed
    Then the workflow should complete with output:
    """yaml
    told: hello world
    """

  # Tests that what the inner workflow exports stays there, and that the end of it is not the end of the outer one
  Scenario: Context Of Its Own
    Given a workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: parent
      version: '1.0.0'
    do:
      - remember:
          set:
            who: ${ .who }
          export:
            as: '{ outer: true }'
      - ask:
          run:
            workflow:
              namespace: ctk
              name: child
              version: '1.0.0'
              input:
                name: ${ .who }
      - tell:
          set:
            told: ${ .greeting }
      - show:
          set:
            told: ${ .told }
            context: ${ $context }
    """
    And another workflow with definition:
    """yaml
    document:
      dsl: '1.0.3'
      namespace: ctk
      name: child
      version: '1.0.0'
    do:
      - greet:
          set:
            greeting: ${ "hello " + .name }
          export:
            as: '{ inner: true }'
          then: end
      - never:
          set:
            greeting: never
    """
    And given the workflow input is:
    """yaml
    who: world
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    told: hello world
    context: { outer: true }
    """
    And never should cancel
